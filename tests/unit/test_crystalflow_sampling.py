"""CrystalFlow sampled for real from the small checkpoints: determinism, elements, compositions, conditions. Needs upstream's code."""

import importlib
import shutil
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distillery.errors import Unavailable
from distillery.generators.generator import Made, resolve_task
from distillery.generators.models.sampling import SampledGenerator
from distillery.runtime.stopping import Stopped
from distillery.schema.generate import GenerateRequest
from distillery.structures.arrow import to_arrow
from services.crystalflow.model import FOLDER, CrystalFlow
from services.crystalflow.settings import CrystalFlowSettings
from services.crystalflow.upstream import BESIDE, COMMIT, FLOW, build_network, import_upstream
from tests.file_server import serve_files
from tests.upstream import require_upstream

PROPERTY = "formation_energy_per_atom"
FAST = {"steps": 10}


def load(checkpoint: str, folder: Path, csp_checkpoint: str = "") -> SampledGenerator:
    settings = CrystalFlowSettings(checkpoint=checkpoint, csp_checkpoint=csp_checkpoint, weights=folder, device="cpu")
    generator = SampledGenerator(CrystalFlow(settings))
    generator.load()
    return generator


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> SampledGenerator:
    require_upstream("crystalflow")
    return load("small", tmp_path_factory.mktemp("weights"))


def generate(generator: SampledGenerator, stop: threading.Event | None = None, **request: Any) -> Made:
    task = resolve_task(GenerateRequest(**{"n": 3, "seed": 4, "min_atoms": 20, "max_atoms": 80, "options": FAST, **request}), generator)
    return generator.generate(task, stop or threading.Event(), lambda *_: None)


def bytes_of(made: Made) -> bytes:
    return to_arrow(made.structures, {"attempts": made.attempts, "rejected": dict(made.rejected)})


def test_same_seed_gives_the_same_bytes_whatever_was_asked_in_between(generator: SampledGenerator) -> None:
    first = bytes_of(generate(generator))
    generate(generator, seed=99, elements=["Si", "O"])
    generate(generator, seed=98, options={"compositions": ["SiO2"], **FAST})
    assert bytes_of(generate(generator)) == first
    assert bytes_of(generate(generator, seed=5)) != first


@pytest.mark.parametrize("elements", [["Si"], ["N", "S", "Cl"], ["As", "Se"]])
def test_only_allowed_elements_come_out(generator: SampledGenerator, elements: list[str]) -> None:
    made = generate(generator, n=60, elements=elements)
    assert made.structures
    assert {symbol for s in made.structures for symbol in s.symbols} <= set(elements)
    assert "unknown_element" not in made.rejected


def test_compositions_are_kept(generator: SampledGenerator) -> None:
    made = generate(generator, n=6, options={"compositions": ["SiO2", "PCl5"], **FAST})
    assert made.structures
    for structure in made.structures:
        centre, ligand, ratio = {"SiO2": ("Si", "O", 2), "PCl5": ("P", "Cl", 5)}[structure.origin["composition"]]
        assert structure.symbols.count(ligand) == ratio * structure.symbols.count(centre)
        assert set(structure.symbols) == {centre, ligand}


def test_the_supercell_is_a_multiple_of_the_cell(generator: SampledGenerator) -> None:
    for structure in generate(generator).structures:
        assert len(structure) == structure.origin["cell_atoms"] * round(np.linalg.det(structure.origin["supercell"]))
        assert structure.origin["checkpoint"] == "small"


def test_more_steps_give_other_structures(generator: SampledGenerator) -> None:
    assert bytes_of(generate(generator)) != bytes_of(generate(generator, options={"steps": 11}))


def test_work_stops_within_a_step(generator: SampledGenerator) -> None:
    stop, calls = threading.Event(), 0

    def leave(*_: float) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            stop.set()

    task = resolve_task(GenerateRequest(n=2, seed=1), generator)
    with pytest.raises(Stopped):
        generator.generate(task, stop, leave)
    assert calls == 3
    assert generate(generator, n=1).attempts >= 1


def test_metadata_names_upstreams_commit_and_what_the_samples_depend_on_besides(generator: SampledGenerator) -> None:
    versions = generator.metadata.versions
    assert versions["upstream"] == COMMIT
    assert {"torch", "threads", "batch", "device", "upstream", "checkpoint"} == set(versions)


def test_upstream_s_tables_of_cell_sizes_are_shares_and_mp_20_s_is_the_default(generator: SampledGenerator) -> None:
    tables = generator.require().networks.sizes
    assert {"mp_20", "alex_mp_20"} <= tables.keys()
    assert all(sum(shares) == pytest.approx(1) for shares in tables.values())
    assert {s.origin["sizes"] for s in generate(generator).structures} == {"mp_20"}


def test_without_upstream_s_tables_sizes_go_by_their_divisors(
    monkeypatch: pytest.MonkeyPatch, generator: SampledGenerator, tmp_path: Path
) -> None:
    shutil.copytree(require_upstream("crystalflow"), tmp_path / "crystalflow", ignore=shutil.ignore_patterns("scripts"))
    monkeypatch.setenv("UPSTREAM_DIR", str(tmp_path))
    assert import_upstream().sizes == {}


def test_a_single_file_is_one_kind_and_a_second_setting_adds_the_other(generator: SampledGenerator, tmp_path: Path) -> None:
    small = FOLDER / "small"
    alone = load(str(small / "csp.ckpt"), tmp_path)
    both = load(str(small / "dng.ckpt"), tmp_path, str(small / "csp.ckpt"))
    request = {"n": 1, "options": {"compositions": ["SiO2"], **FAST}}
    positions = [generate(g, **request).structures[0].positions for g in (alone, both, generator)]
    assert np.array_equal(positions[0], positions[1])
    assert np.array_equal(positions[0], positions[2])
    assert len({g.metadata.weights_sha256 for g in (alone, both, generator)}) == 3


def test_a_checkpoint_from_a_url_may_be_called_anything(generator: SampledGenerator, tmp_path: Path) -> None:
    content = (FOLDER / "small" / "dng.ckpt").read_bytes()
    with serve_files(**{"dng.ckpt/content": content}) as server:
        fetched = load(f"{server.url}/dng.ckpt/content", tmp_path)
    assert generate(fetched, n=1).structures[0].origin["checkpoint"] == f"{server.url}/dng.ckpt/content"


@pytest.mark.parametrize("kind", ["dng", "csp"])
def test_upstream_itself_reads_the_small_checkpoints(generator: SampledGenerator, kind: str) -> None:
    path = FOLDER / "small" / f"{kind}.ckpt"
    module, _, name = FLOW.rpartition(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = getattr(importlib.import_module(module), name).load_from_checkpoint(path, map_location="cpu", weights_only=False)
    weights = torch.load(path, weights_only=False)["state_dict"]
    assert theirs.pred_type == (kind == "dng")
    assert all(torch.equal(weight, weights[key]) for key, weight in theirs.state_dict().items())


@pytest.fixture(scope="module")
def conditioned(generator: SampledGenerator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random weights that is conditioned on a property, in upstream's format, with its file of scales."""
    folder = tmp_path_factory.mktemp("conditioned")
    content = torch.load(FOLDER / "small" / "dng.ckpt", weights_only=False)
    content["hyper_parameters"]["guide_threshold"] = 0.2
    torch.manual_seed(0)
    network = build_network({k: v for k, v in content["hyper_parameters"].items() if k not in BESIDE})
    torch.save({**content, "state_dict": network.state_dict()}, folder / "last.ckpt")
    scaler: Any = importlib.import_module("diffcsp.common.data_utils").StandardScalerTorch
    torch.save({PROPERTY: scaler(torch.tensor(-1.5), torch.tensor(0.5))}, folder / "prop_scalers.pt")
    return folder


def test_conditions_and_guidance_change_the_samples(conditioned: Path, tmp_path: Path) -> None:
    generator = load(str(conditioned), tmp_path)
    made = [
        generate(generator, n=30, seed=7, options={**FAST, "conditions": {PROPERTY: value}, "guidance": guidance})
        for value, guidance in ((-1.0, 1.0), (-2.5, 1.0), (-1.0, 2.0), (-1.0, 2.0))
    ]
    answers = [bytes_of(one) for one in made]
    assert all(one.structures for one in made)
    assert len(set(answers)) == 3
    assert answers[2] == answers[3]


def test_a_conditioned_checkpoint_without_its_scales_is_not_loaded(conditioned: Path, tmp_path: Path) -> None:
    shutil.copy(conditioned / "last.ckpt", tmp_path)
    with pytest.raises(Unavailable, match=r"prop_scalers\.pt"):
        load(str(tmp_path / "last.ckpt"), tmp_path / "weights")


def test_weights_that_do_not_fit_are_refused_by_name(conditioned: Path, tmp_path: Path) -> None:
    content = torch.load(conditioned / "last.ckpt", weights_only=False)
    content["state_dict"].popitem()
    torch.save(content, tmp_path / "broken.ckpt")
    with pytest.raises(Unavailable, match=r"broken\.ckpt does not fit"):
        load(str(tmp_path / "broken.ckpt"), tmp_path / "weights")


def test_importing_upstream_leaves_no_placeholder_behind(generator: SampledGenerator) -> None:
    import_upstream()
    assert hasattr(importlib.import_module("sklearn"), "__version__")
