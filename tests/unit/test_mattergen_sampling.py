"""MatterGen's service with upstream's code and the small checkpoint: real sampling, the same each time, conditioned, stopped, mended."""

import shutil
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distillery.errors import Unavailable
from distillery.generators.generator import Made, resolve_task
from distillery.generators.models.sampling import SampledGenerator
from distillery.runtime.device import DeviceLost
from distillery.runtime.stopping import Stopped
from distillery.schema.generate import GenerateRequest
from distillery.structures.checks import find_chemistry_fault, find_input_fault
from distillery.structures.identity import structure_hash
from distillery.structures.structure import DEFAULT_ELEMENTS
from distillery.weights.catalogue import read_catalogue
from services.mattergen.model import MatterGenModel
from services.mattergen.network import build_module, build_network, read_config
from services.mattergen.sampler import Condition, draw_samples
from services.mattergen.settings import MatterGenSettings
from tests.upstream import require_upstream

SMALL = Path(__file__).parents[2] / "services/mattergen/small"
BATCH = 8
REQUEST: dict[str, Any] = {"n": 3, "seed": 5, "min_atoms": 20, "max_atoms": 60}


@pytest.fixture(scope="module", autouse=True)
def upstream() -> None:
    """A checkout at the pinned commit, or the PyPI release (pip install --no-deps mattergen), which is enough to sample."""
    if find_spec("mattergen") is None:
        require_upstream("mattergen")


@pytest.fixture(scope="module")
def generator(upstream: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SampledGenerator]:
    """The service's generator with its small checkpoint on the cpu."""
    weights = tmp_path_factory.mktemp("weights")
    generator = SampledGenerator(MatterGenModel(MatterGenSettings(checkpoint="small", weights=weights, device="cpu", batch=BATCH)))
    generator.load()
    yield generator
    generator.close()


def make(generator: SampledGenerator, **request: Any) -> Made:
    task = resolve_task(GenerateRequest(**{**REQUEST, **request}), generator)
    return generator.generate(task, threading.Event(), lambda made, n: None)


def positions(made: Made) -> list[list[list[float]]]:
    return [s.positions.tolist() for s in made.structures]


@pytest.fixture(scope="module")
def watched(generator: SampledGenerator) -> tuple[Made, list[float]]:
    """What a request made, and the shares of it that were done as it went on."""
    shares: list[float] = []
    task = resolve_task(GenerateRequest(**REQUEST), generator)
    return generator.generate(task, threading.Event(), lambda done, n: shares.append(done / n)), shares


@pytest.fixture(scope="module")
def made(watched: tuple[Made, list[float]]) -> Made:
    return watched[0]


def test_samples_are_sane_crystals_of_the_size_and_elements_asked_for(made: Made) -> None:
    assert len(made.structures) == 3, made.rejected
    for structure in made.structures:
        assert find_input_fault(structure, DEFAULT_ELEMENTS) is None
        assert find_chemistry_fault(structure) is None
        assert 20 <= len(structure) <= 60
        assert structure.system == "crystal"
        assert structure.origin["checkpoint"] == "small"
    assert len({structure_hash(s) for s in made.structures}) == 3


def test_another_seed_gives_other_structures(generator: SampledGenerator, made: Made) -> None:
    assert positions(make(generator, seed=6)) != positions(made)


def test_the_card_names_what_the_samples_depend_on(generator: SampledGenerator) -> None:
    card = generator.metadata
    assert card.generative
    assert card.weights_sha256 is not None
    assert {"upstream", "torch", "checkpoint", "device", "batch", "threads"} == set(card.versions)
    assert card.systems["crystal"].elements == DEFAULT_ELEMENTS


def test_masked_elements_never_come_out_even_of_random_weights(generator: SampledGenerator) -> None:
    network = generator.require().networks.network
    torch.manual_seed(0)
    samples = draw_samples(network, np.full(6, 8), [9, 14], Condition({}, 0.0), lambda share: None)
    assert {int(z) for sample in samples for z in sample.numbers} <= {9, 14}


def test_a_chemical_system_restricts_the_elements_and_is_recorded(generator: SampledGenerator) -> None:
    made = make(generator, n=1, options={"properties": {"chemical_system": "O-Si"}, "guidance": 1.5})
    assert len(made.structures) == 1
    structure = made.structures[0]
    assert set(structure.symbols) <= {"O", "Si"}
    assert structure.origin["properties"] == {"chemical_system": "O-Si"}
    assert structure.origin["guidance"] == 1.5


def test_guidance_towards_a_chemical_system_brings_its_elements_together(generator: SampledGenerator) -> None:
    """Both elements are in more of the cells than where the others are only masked."""
    network = generator.require().networks.network

    def count_complete(condition: Condition) -> int:
        torch.manual_seed(0)
        samples = draw_samples(network, np.full(12, 4), [8, 14], condition, lambda share: None)
        return sum(len(set(sample.numbers.tolist())) == 2 for sample in samples)

    assert count_complete(Condition({"chemical_system": "O-Si"}, 4.0)) > count_complete(Condition({}, 0.0))


def test_a_request_is_abandoned_within_a_step_and_the_same_seed_gives_the_same_structures_after_it(
    generator: SampledGenerator, made: Made
) -> None:
    task = resolve_task(GenerateRequest(**{**REQUEST, "seed": 6}), generator)
    stop, shares = threading.Event(), list[float]()

    def progress(done: float, n: int) -> None:
        shares.append(done)
        if len(shares) == 4:
            stop.set()

    with pytest.raises(Stopped):
        generator.generate(task, stop, progress)
    assert len(shares) == 4
    assert positions(make(generator)) == positions(made)


def test_progress_grows_to_the_end(watched: tuple[Made, list[float]]) -> None:
    _, shares = watched
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == 1
    assert len(shares) > 20


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), IndexError("no neighbours")], ids=["memory", "breakdown"])
def test_a_batch_that_fails_is_drawn_in_halves(generator: SampledGenerator, error: Exception) -> None:
    denoiser = generator.require().networks.network.module.model
    sizes: list[int] = []

    def fail_first(module: object, arguments: tuple[Any, ...]) -> None:
        sizes.append(len(arguments[1]))
        if len(sizes) == 1:
            raise error

    handle = denoiser.register_forward_pre_hook(fail_first)
    try:
        made = make(generator, n=2)
    finally:
        handle.remove()
    assert sizes[:2] == [2, 1]
    assert len(made.structures) == 2


def test_a_lost_device_is_no_bad_sample(generator: SampledGenerator) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(handle)`")

    handle = generator.require().networks.network.module.model.register_forward_pre_hook(fail)
    try:
        with pytest.raises(DeviceLost, match="CUBLAS_STATUS_EXECUTION_FAILED"):
            make(generator, n=1)
    finally:
        handle.remove()


def test_a_checkpoint_with_an_adapter_is_conditioned_on_its_properties(generator: SampledGenerator) -> None:
    """The layout of most published checkpoints; the adapter is untrained, the rest is the small checkpoint."""
    small = generator.require().networks.network.module
    config = adapt(read_config(SMALL / "config.yaml"), ("dft_band_gap", "energy_above_hull"))
    module = build_module(config)
    missing = module.load_state_dict(small.state_dict(), strict=False)
    assert not missing.unexpected_keys
    for embedding in module.model.property_embeddings_adapt.values():
        embedding.scaler.fit(torch.arange(5.0))
    network = build_network(config, module.state_dict(), "cpu")
    assert network.properties == ("chemical_system", "dft_band_gap", "energy_above_hull")
    assert network.all_or_none
    config["lightning_module"]["diffusion_module"]["pre_corruption_fn"]["dropout_fields_iid"] = True
    assert not build_network(config, module.state_dict(), "cpu").all_or_none
    torch.manual_seed(0)
    samples = draw_samples(network, np.full(2, 4), [8, 14], Condition({"dft_band_gap": 1.5}, 2.0), lambda share: None)
    assert [len(sample.numbers) for sample in samples] == [4, 4]


def adapt(config: dict[str, Any], properties: tuple[str, ...]) -> dict[str, Any]:
    """The configuration with an adapter for these properties, as upstream's fine-tuning writes it."""
    model = config["lightning_module"]["diffusion_module"]["model"]
    size = model["hidden_dim"]
    model["_target_"] = "mattergen.adapter.GemNetTAdapter"
    model["gemnet"] |= {"_target_": "mattergen.common.gemnet.gemnet_ctrl.GemNetTCtrl", "condition_on_adapt": list(properties)}
    model["property_embeddings_adapt"] = {
        name: {
            "_target_": "mattergen.property_embeddings.PropertyEmbedding",
            "name": name,
            "conditional_embedding_module": {"_target_": "mattergen.diffusion.model_utils.NoiseLevelEncoding", "d_model": size},
            "unconditional_embedding_module": {"_target_": "mattergen.property_embeddings.EmbeddingVector", "hidden_dim": size},
            "scaler": {"_target_": "mattergen.common.utils.data_utils.StandardScalerTorch"},
        }
        for name in properties
    }
    return config


def test_the_published_configurations_are_taken() -> None:
    folder = require_upstream("mattergen")
    names = sorted(path.parent.name for path in folder.glob("checkpoints/*/config.yaml") if read_config(path))
    assert names == sorted(read_catalogue(SMALL.parent))


def test_weights_and_configuration_that_do_not_belong_together_are_refused(generator: SampledGenerator) -> None:
    config = read_config(SMALL / "config.yaml")
    tensors = dict(generator.require().networks.network.module.state_dict())
    tensors.popitem()
    with pytest.raises(Unavailable, match="do not belong together"):
        build_network(config, tensors, "cpu")


def test_nothing_is_written_into_a_folder_of_the_user(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    for name in ("last.ckpt", "config.yaml"):
        shutil.copy(SMALL / name, own)
    SampledGenerator(MatterGenModel(MatterGenSettings(checkpoint=str(own), weights=tmp_path / "weights", device="cpu"))).load()
    assert {file.name for file in own.iterdir()} == {"last.ckpt", "config.yaml"}
    assert len(list((tmp_path / "weights/mattergen/converted").iterdir())) == 1
