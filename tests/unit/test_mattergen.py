"""MatterGen's service without upstream: options, cell sizes, crystals from samples, configurations, elements masked, refusals."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from distillery.errors import InvalidRequest, Unavailable, Unsupported
from distillery.generators.generator import Task, resolve_task
from distillery.generators.models.cell_sizes import draw_cell_sizes, select_cell_sizes
from distillery.generators.models.cells import LARGEST_VOLUME_PER_ATOM
from distillery.generators.models.crystals import Sample, as_crystal
from distillery.generators.models.model import Loaded
from distillery.generators.models.sampling import SampledGenerator
from distillery.generators.proposals import Rejected
from distillery.schema.generate import GenerateRequest
from distillery.structures.checks import find_input_fault
from distillery.structures.structure import DEFAULT_ELEMENTS, numbers_of
from distillery.weights.catalogue import CheckpointFiles, ensure_checkpoint, read_catalogue
from services.mattergen.model import ELEMENTS, MatterGenModel, Trained, TrainedOn, choose_weights
from services.mattergen.network import Network, read_config
from services.mattergen.sampler import mask_elements
from services.mattergen.settings import MatterGenSettings

FOLDER = Path(__file__).parents[2] / "services/mattergen"
SHARES = dict.fromkeys(range(1, 21), 0.05)


def rock_salt(edge: float = 5.64) -> Sample:
    """Rock salt's conventional cell."""
    corners = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    fractional = np.concatenate([corners, (corners + 0.5) % 1])
    return Sample(np.array([11] * 4 + [17] * 4), fractional, edge * np.eye(3))


def resolve(*, shares: dict[int, float] = SHARES, all_or_none: bool = False, **request: Any) -> Task:
    """The task of a service that has loaded a checkpoint that knows two properties and makes cells of these sizes."""
    network = Network(SimpleNamespace(), torch.device("cpu"), 1000, ("chemical_system", "dft_band_gap"), all_or_none)
    generator = SampledGenerator(MatterGenModel(MatterGenSettings(checkpoint="known")))
    generator.loaded = Loaded(Trained(network, ELEMENTS, shares), "cpu", "0", "known", "0" * 64)
    return resolve_task(GenerateRequest(**{"n": 1, "seed": 1, **request}), generator)


@pytest.mark.parametrize("guidance", [0, 0.0, -1.5])
def test_a_condition_without_guidance_is_refused(guidance: float) -> None:
    with pytest.raises(InvalidRequest, match=r"guidance must be greater than 0.*dft_band_gap"):
        resolve(options={"properties": {"dft_band_gap": 1.5}, "guidance": guidance})


def test_guidance_without_a_condition_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="guidance without properties"):
        resolve(options={"guidance": 2.0})


def test_a_property_that_the_checkpoint_does_not_know_is_refused_with_those_it_knows() -> None:
    with pytest.raises(Unsupported, match=r"known can't be conditioned on 'hhi_score'.*chemical_system, dft_band_gap"):
        resolve(options={"properties": {"hhi_score": 1000}})


def test_one_of_two_properties_is_refused_where_the_checkpoint_never_saw_it_alone() -> None:
    alone, both = {"dft_band_gap": 1.5}, {"dft_band_gap": 1.5, "chemical_system": "Si-O"}
    with pytest.raises(Unsupported, match="known was trained with all of chemical_system, dft_band_gap or none of them"):
        resolve(all_or_none=True, options={"properties": alone})
    for is_strict, properties in ((False, alone), (True, both), (True, {})):
        resolve(all_or_none=is_strict, options={"properties": properties})


def test_another_checkpoint_is_refused_with_the_way_to_start_it() -> None:
    assert resolve(options={"checkpoint": "known"}).options.model_dump()["checkpoint"] == "known"
    with pytest.raises(Unsupported, match=r"loaded the checkpoint known.*DISTILLERY_MATTERGEN_CHECKPOINT=space_group"):
        resolve(options={"checkpoint": "space_group"})


def test_a_chemical_system_beyond_the_allowed_elements_is_refused() -> None:
    with pytest.raises(Unsupported, match="Li"):
        resolve(elements=["O", "Si"], options={"properties": {"chemical_system": "Li-O"}})


@pytest.mark.parametrize("value", ["Li-Xx", "", "Li-Li", "li-o", "Li O", 3])
def test_a_malformed_chemical_system_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest, match="chemical_system must be different chemical symbols"):
        resolve(elements=["Li", "O"], options={"properties": {"chemical_system": value}})


@pytest.mark.parametrize("properties", [{"dft_band_gap": "wide"}, {"space_group": 231}, {"space_group": 0}, {"space_group": 1.5}])
def test_values_that_are_none_of_the_property_are_refused(properties: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest, match=next(iter(properties))):
        resolve(options={"properties": properties})


def test_the_default_size_is_met_by_supercells_of_every_cell() -> None:
    task = resolve()
    assert (task.min_atoms, task.max_atoms) == (50, 500)
    assert set(select_cell_sizes(SHARES, 50, 500)) == set(SHARES)


def test_only_cells_whose_supercells_fit_the_range_are_drawn() -> None:
    shares = select_cell_sizes(SHARES, 50, 52)
    assert set(shares) == {size for size in SHARES if any(n % size == 0 for n in (50, 51, 52))}
    assert sum(shares.values()) == pytest.approx(1)
    sizes = draw_cell_sizes(shares, 200, np.random.default_rng(0))
    assert set(sizes.tolist()) == set(shares)


def test_a_range_that_no_supercell_meets_is_refused() -> None:
    without_one = {size: share for size, share in SHARES.items() if size > 1}
    with pytest.raises(Unsupported, match="997-997"):
        resolve(shares=without_one, min_atoms=997, max_atoms=997)


def test_a_good_sample_becomes_a_crystal() -> None:
    sample = rock_salt()
    crystal = as_crystal(Sample(sample.numbers, sample.fractional + 3.0, sample.cell), {"model": "mattergen"})
    assert find_input_fault(crystal) is None
    assert crystal.symbols == ["Na"] * 4 + ["Cl"] * 4
    assert np.allclose(crystal.positions, sample.fractional @ sample.cell)
    assert crystal.origin == {"model": "mattergen"}


def test_a_left_handed_cell_is_turned_without_moving_atoms_apart() -> None:
    sample = rock_salt()
    crystal = as_crystal(Sample(sample.numbers, sample.fractional, -sample.cell), {})
    assert np.linalg.det(crystal.cell) > 0
    assert find_input_fault(crystal) is None


SPARSE_EDGE = 1.01 * (8 * LARGEST_VOLUME_PER_ATOM) ** (1 / 3)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"cell": np.full((3, 3), np.nan)}, "not_finite"),
        ({"fractional": np.full((8, 3), np.inf)}, "not_finite"),
        ({"numbers": np.array([11] * 7 + [0])}, "unknown_element"),
        ({"numbers": np.array([11] * 7 + [300])}, "unknown_element"),
        ({"cell": np.diag([5.6, 5.6, 0.4])}, "cell_lengths"),
        ({"cell": np.diag([5.6, 5.6, 90.0])}, "cell_lengths"),
        ({"cell": np.array([[5.6, 0, 0], [5.5, 1.0, 0], [0, 0, 20.0]])}, "cell_angles"),
        ({"cell": SPARSE_EDGE * np.eye(3)}, "too_sparse"),
        ({"cell": 3.0 * np.eye(3)}, "too_dense"),
        ({"fractional": np.zeros((8, 3))}, "atoms_too_close"),
    ],
)
def test_a_bad_sample_is_rejected_with_its_reason(change: dict[str, Any], reason: str) -> None:
    sample = rock_salt()
    parts = {"numbers": sample.numbers, "fractional": sample.fractional, "cell": sample.cell, **change}
    with pytest.raises(Rejected, match=reason):
        as_crystal(Sample(**parts), {})


def test_masked_logits_leave_only_the_allowed_elements() -> None:
    allowed = numbers_of(["H", "O"]).tolist()
    logits = mask_elements(allowed)(logits=torch.randn(50, 101, generator=torch.Generator().manual_seed(0)) * 5)
    shares = logits.softmax(dim=1)
    columns = [z - 1 for z in allowed]
    assert shares[:, columns].min() > 0
    assert shares[:, [k for k in range(101) if k not in columns]].max() == 0


def test_the_small_configuration_is_taken() -> None:
    trained_on = TrainedOn.model_validate(read_config(FOLDER / "small/config.yaml")["trained_on"])
    assert trained_on.elements == DEFAULT_ELEMENTS


@pytest.mark.parametrize("call", ["os.system", "builtins.eval", "mattergen.scripts.run.main", "${eval:'1 + 1'}", "${oc.env:HOME}"])
def test_a_configuration_that_would_run_something_else_is_refused(tmp_path: Path, call: str) -> None:
    config = yaml.safe_load((FOLDER / "small/config.yaml").read_text())
    gemnet = config["lightning_module"]["diffusion_module"]["model"]["gemnet"]
    gemnet["cutoff" if "$" in call else "_target_"] = call
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(Unavailable, match="only parts of MatterGen"):
        read_config(tmp_path / "config.yaml")


@pytest.mark.parametrize("text", ["", "a: [", "lightning_module: 3", "- 1"])
def test_what_is_no_configuration_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(Unavailable, match="no configuration of a MatterGen checkpoint"):
        read_config(tmp_path / "config.yaml")


def test_every_published_checkpoint_has_digests_of_both_files() -> None:
    catalogue = read_catalogue(FOLDER)
    assert {"mattergen_base", "chemical_system", "space_group", "dft_band_gap"} < set(catalogue)
    for weights in catalogue.values():
        assert set(weights.files) == {"last.ckpt", "config.yaml"}
        assert all(source.sha256 and source.bytes for source in weights.files.values())


def test_before_loading_the_service_says_so() -> None:
    generator = SampledGenerator(MatterGenModel(MatterGenSettings(checkpoint="known")))
    assert generator.metadata.weights_sha256 is None
    assert generator.metadata.systems["crystal"].elements == ELEMENTS
    with pytest.raises(Unavailable, match="not loaded"):
        resolve_task(GenerateRequest(n=1, seed=1), generator)


@pytest.mark.parametrize(
    ("weights", "taken"),
    [
        (["last.ckpt"], "last.ckpt"),
        (["checkpoints/last.ckpt"], "last.ckpt"),
        (["checkpoints/epoch=9-step=90.ckpt"], "epoch=9-step=90.ckpt"),
        (["checkpoints/epoch=9-step=90.ckpt", "checkpoints/last.ckpt"], "last.ckpt"),
    ],
)
def test_folders_as_upstream_leaves_them_are_taken(tmp_path: Path, weights: list[str], taken: str) -> None:
    assert choose_weights(take_folder(tmp_path, ["config.yaml", *weights])).name == taken


@pytest.mark.parametrize(
    ("files", "named"),
    [
        (["config.yaml"], "lacks last.ckpt"),
        (["checkpoints/last.ckpt"], "lacks config.yaml"),
        (["config.yaml", "checkpoints/epoch=1.ckpt", "checkpoints/epoch=2.ckpt"], "holds epoch=1.ckpt, epoch=2.ckpt and no last.ckpt"),
    ],
)
def test_folders_that_leave_open_which_weights_to_take_are_refused(tmp_path: Path, files: list[str], named: str) -> None:
    with pytest.raises(Unavailable, match=named):
        choose_weights(take_folder(tmp_path, files))


def take_folder(folder: Path, files: list[str]) -> CheckpointFiles:
    for name in files:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x" * 2000)
    return ensure_checkpoint(FOLDER, str(folder), folder, download=False)
