"""Chemeleon's service with its small checkpoint: real sampling, the same each time, of the elements asked for, and upstream's own."""

import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase.data import atomic_numbers
from pydantic import ValidationError

from distillery.errors import Unavailable, Unsupported
from distillery.generators.generator import Made, resolve_task
from distillery.generators.models.sampling import SampledGenerator, seed_everything
from distillery.runtime.stopping import Stopped
from distillery.schema.generate import GenerateRequest
from distillery.structures.checks import find_chemistry_fault, find_input_fault
from distillery.structures.structure import DEFAULT_ELEMENTS
from services.chemeleon.model import ChemeleonModel
from services.chemeleon.network import read_network
from services.chemeleon.options import ChemeleonOptions, read_composition
from services.chemeleon.settings import ChemeleonSettings

SMALL = Path(__file__).parents[2] / "services/chemeleon/small/chemeleon_dng_small.ckpt"


def start(tmp_path: Path, checkpoint: str) -> SampledGenerator:
    generator = SampledGenerator(ChemeleonModel(ChemeleonSettings(checkpoint=checkpoint, weights=tmp_path, device="cpu", batch=16)))
    generator.load()
    return generator


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SampledGenerator]:
    """De novo, the small checkpoint."""
    generator = start(tmp_path_factory.mktemp("weights"), "small")
    yield generator
    generator.close()


@pytest.fixture(scope="module")
def csp_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint for compositions with random weights, as upstream's training writes it."""
    from services.chemeleon.small.train import build

    torch.manual_seed(3)
    module = build("csp")
    path = tmp_path_factory.mktemp("csp") / "csp.ckpt"
    torch.save({"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}, path)
    return path


def make(generator: SampledGenerator, **request: Any) -> Made:
    task = resolve_task(GenerateRequest.model_validate({"n": 3, "seed": 5, "min_atoms": 20, "max_atoms": 60, **request}), generator)
    generator.check(task)
    return generator.generate(task, threading.Event(), lambda made, n: None)


def positions(made: Made) -> list[list[list[float]]]:
    return [s.positions.tolist() for s in made.structures]


def test_samples_are_sane_crystals_of_the_size_and_elements_asked_for_and_come_again(generator: SampledGenerator) -> None:
    made = make(generator)
    assert len(made.structures) == 3, made.rejected
    for structure in made.structures:
        assert find_input_fault(structure, DEFAULT_ELEMENTS) is None
        assert find_chemistry_fault(structure) is None
        assert 20 <= len(structure) <= 60
        assert structure.origin["checkpoint"] == "small"
    assert positions(make(generator, seed=6)) != positions(made)
    assert positions(make(generator)) == positions(made)


def test_elements_that_are_not_asked_for_never_come_out(generator: SampledGenerator) -> None:
    loaded = generator.require()
    task = resolve_task(GenerateRequest(n=1, seed=1, elements=("Si", "O"), min_atoms=2, max_atoms=60), generator)
    seed_everything(1)
    samples = generator._model.draw(task, loaded, 24, 1, lambda share: None)
    kept = [s for sample in samples if not isinstance(sample, str) for s in sample.structures]
    assert kept
    assert {int(z) for s in kept for z in s.numbers} <= {8, 14}


def test_where_no_element_is_left_out_it_is_upstream_s_sampler(generator: SampledGenerator) -> None:
    network = generator.require().networks
    every = tuple(range(1, network.n_types))
    assert network.module.model.type_out._forward_hooks == {}
    with network.limited_to(every):
        assert network.module.model.type_out._forward_hooks == {}
    with network.limited_to((8, 14)):
        assert len(network.module.model.type_out._forward_hooks) == 1
    assert network.module.model.type_out._forward_hooks == {}


def test_what_is_restored_of_a_checkpoint_samples_as_upstream_s_own_loading_does(tmp_path: Path) -> None:
    from services.chemeleon.network import DiffusionModule

    content = torch.load(SMALL, weights_only=False)
    theirs = DiffusionModule(**content["hyper_parameters"])
    theirs.load_state_dict(content["state_dict"])
    ours = read_network(SMALL, tmp_path, "cpu").module
    cells = []
    for module in (theirs.eval(), ours):
        torch.manual_seed(11)
        cells.append(module.sample("dng", [3, 5], verbose=False))
    for one, other in zip(*cells, strict=True):
        assert one.numbers.tolist() == other.numbers.tolist()
        assert np.array_equal(one.positions, other.positions)
        assert np.array_equal(one.cell.array, other.cell.array)


def test_a_checkpoint_of_the_package_s_older_name_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = torch.load(SMALL, weights_only=False)
    kinds = {type(value) for name, value in content["hyper_parameters"].items() if name == "task" or name.startswith("diffusion_")}
    for kind in kinds:
        older = kind.__module__.replace("chemeleon_dng", "chemeleon_rl")
        monkeypatch.setitem(sys.modules, older, sys.modules[kind.__module__])
        monkeypatch.setattr(kind, "__module__", older)
    torch.save(content, tmp_path / "older.ckpt")
    assert b"chemeleon_rl" in (tmp_path / "older.ckpt").read_bytes()
    assert read_network(tmp_path / "older.ckpt", tmp_path, "cpu").task == "dng"


def test_compositions_come_out_as_they_were_asked_for(csp_file: Path, tmp_path: Path) -> None:
    generator = start(tmp_path, str(csp_file))
    loaded = generator.require()
    options = {"compositions": ["SiO2", "C4", "S9"]}
    request = {"n": 1, "seed": 2, "elements": ["Si", "O", "C", "S"], "min_atoms": 2, "max_atoms": 8, "options": options}
    task = resolve_task(GenerateRequest.model_validate(request), generator)
    generator.check(task)
    network = loaded.networks
    torch.manual_seed(1)
    cells = network.module.sample("csp", [3, 4], [14, 8, 8, 6, 6, 6, 6], verbose=False)
    assert [atoms.get_chemical_formula() for atoms in cells] == ["O2Si", "C4"]
    for sample in generator._model.draw(task, loaded, 32, 3, lambda share: None):
        if not isinstance(sample, str):
            (structure,) = sample.structures
            cell = read_composition(str(structure.origin["composition"]))
            assert len(cell) <= 8, "S9 does not fit"
            assert sorted(structure.numbers) == sorted(cell * (len(structure) // len(cell)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "predicts crystals of compositions"),
        ({"options": {"compositions": ["NaCl"]}}, "NaCl has Na"),
        ({"options": {"compositions": ["Si3O6"]}, "min_atoms": 10, "max_atoms": 17}, "no supercell"),
    ],
)
def test_what_a_csp_checkpoint_cannot_do_is_refused(csp_file: Path, tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(Unsupported, match=said):
        make(start(tmp_path, str(csp_file)), **change)


def test_what_a_dng_checkpoint_cannot_do_is_refused(generator: SampledGenerator) -> None:
    with pytest.raises(Unsupported, match="works de novo"):
        make(generator, options={"compositions": ["SiO2"]})
    assert generator.metadata.systems["crystal"].elements[-1] == "Cl"


@pytest.mark.parametrize(
    ("formula", "said"),
    [("SiO2.5", "no composition"), ("Xx2", "no element 'Xx'"), ("C200", "over 100"), ("", "no composition"), ("C0", "no atoms")],
)
def test_formulas_that_are_none_are_explained(formula: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ChemeleonOptions.model_validate({"compositions": [formula]})


def test_a_formula_is_the_content_of_a_cell() -> None:
    assert read_composition("Na4Cl4") == (11,) * 4 + (17,) * 4
    assert read_composition("CH3OH") == (6, 1, 1, 1, 8, 1)


@pytest.mark.parametrize("change", ["guide", "foreign", "nan", "layers", "class"])
def test_files_that_are_no_checkpoint_of_it_are_refused_by_name(tmp_path: Path, change: str) -> None:
    content = torch.load(SMALL, weights_only=False)
    given = dict(content["hyper_parameters"])
    if change == "guide":
        given["task"] = type(given["task"])["GUIDE"]
        said = "guided generation"
    elif change == "foreign":
        content, said = {"state_dict": {}}, "not laid out like"
    elif change == "nan":
        content["state_dict"]["model.coord_out.weight"][0, 0] = float("nan")
        said = "NaN or infinity"
    elif change == "layers":
        given["model_configs"] = {**given["model_configs"], "num_layers": 2}
        said = "do not belong together"
    else:
        given["extra"] = Path.home
        said = "is not on the list"
    path = tmp_path / "changed.ckpt"
    torch.save(content if change == "foreign" else {**content, "hyper_parameters": given}, path)
    with pytest.raises(Unavailable, match=said):
        read_network(path, tmp_path, "cpu")


def test_it_stops_when_it_is_told_to(generator: SampledGenerator) -> None:
    stop = threading.Event()
    task = resolve_task(GenerateRequest(n=500, seed=1, min_atoms=20, max_atoms=60), generator)

    def end(made: float, n: int) -> None:
        stop.set()

    with pytest.raises(Stopped):
        generator.generate(task, stop, end)


def test_the_sampler_s_breakdown_costs_what_it_must(generator: SampledGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = generator.require()

    class Broken:
        model = loaded.networks.module.model
        device = torch.device("cpu")

        def sample(self, *_: Any, **__: Any) -> None:
            raise RuntimeError("singular")

    broken = replace(loaded, networks=replace(loaded.networks, module=Broken()))
    monkeypatch.setattr(generator, "loaded", broken)
    made = make(generator, n=1)
    assert made.structures == []
    assert set(made.rejected) == {"sampler_failed"}


def test_every_element_of_a_checkpoint_has_a_number() -> None:
    assert {atomic_numbers[symbol] for symbol in ChemeleonModel(ChemeleonSettings()).describe(None).systems["crystal"].elements} == set(
        range(1, 101)
    )
