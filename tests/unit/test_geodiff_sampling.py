"""GeoDiff itself: upstream's network and sampler with the small checkpoint."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from distillery.errors import Unsupported
from distillery.generators.generator import Made, resolve_task
from distillery.generators.models.model import BatchFailed
from distillery.generators.models.sampling import SampledGenerator
from distillery.generators.plugins import build_service
from distillery.runtime.stopping import Stopped
from distillery.schema.generate import GenerateRequest
from distillery.structures.checks import find_chemistry_fault, find_input_fault
from distillery.structures.structure import DEFAULT_ELEMENTS
from services.geodiff.model import GeoDiff
from services.geodiff.pool import Wanted
from services.geodiff.settings import GeoDiffSettings
from tests.serving import serve
from tests.upstream import require_upstream

SMILES = ["CCO", "CC(=O)N", "c1ccoc1", "CC(C)O"]


class Never:
    def is_set(self) -> bool:
        return False


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SampledGenerator]:
    require_upstream("geodiff")
    weights = tmp_path_factory.mktemp("weights")
    made = SampledGenerator(GeoDiff(GeoDiffSettings(checkpoint="small", weights=weights, device="cpu")))
    made.load()
    yield made
    made.close()


def generate(generator: SampledGenerator, **changes: Any) -> Made:
    request = GenerateRequest(**{"n": 4, "seed": 5, "min_atoms": 5, "max_atoms": 30, "options": {"smiles": SMILES}, **changes})
    return generator.generate(resolve_task(request, generator), Never(), lambda made, n: None)


def contents(made: Made) -> list[tuple[Any, ...]]:
    return [(s.numbers.tobytes(), s.positions.tobytes(), dict(s.origin)) for s in made.structures]


def test_conformers_are_the_wanted_molecules(generator: SampledGenerator) -> None:
    made = generate(generator, n=8)
    assert len(made.structures) == 8
    for s in made.structures:
        assert find_input_fault(s, DEFAULT_ELEMENTS) is None
        assert find_chemistry_fault(s) is None
        assert s.origin["given"] in SMILES
    assert made.attempts == len(made.structures) + sum(made.rejected.values())


def test_the_same_seed_gives_the_same_structures_after_other_requests(generator: SampledGenerator) -> None:
    before = contents(generate(generator))
    assert contents(generate(generator, seed=6, n=2)) != before
    assert contents(generate(generator)) == before


def test_conformers_of_one_molecule_differ(generator: SampledGenerator) -> None:
    made = generate(generator, n=3, options={"smiles": ["CC(C)CO"], "conformers": 3})
    assert len({s.positions.tobytes() for s in made.structures}) == 3


def test_a_stop_is_seen_within_a_step_and_leaves_the_model_as_it_was(generator: SampledGenerator) -> None:
    expected = contents(generate(generator, n=2))
    stop, steps = threading.Event(), []
    task = resolve_task(GenerateRequest(n=50, seed=9, min_atoms=5, max_atoms=30, options={"smiles": SMILES}), generator)

    def count(made: float, n: int) -> None:
        steps.append(made)
        if len(steps) == 5:
            stop.set()

    with pytest.raises(Stopped):
        generator.generate(task, stop, count)
    assert len(steps) == 5
    assert contents(generate(generator, n=2)) == expected


def test_numbers_that_are_not_finite_are_tried_again_in_halves_and_alone_with_clipping(
    generator: SampledGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = generator.require().networks.network
    run, tried = type(network)._run, []

    def fail_once(self: Any, graphs: Any, w_global: float, clip_local: float | None) -> torch.Tensor:
        tried.append((len(graphs.sizes), clip_local))
        if len(graphs.sizes) > 1 or clip_local is None:
            raise FloatingPointError
        return run(self, graphs, w_global, clip_local)

    monkeypatch.setattr(type(network), "_run", fail_once)
    assert len(generate(generator, n=2).structures) == 2
    assert tried[:5] == [(2, None), (1, None), (1, 20.0), (1, None), (1, 20.0)]
    with pytest.raises(BatchFailed):
        network.sample([Wanted(smiles, "request").mol for smiles in SMILES[:2]], 1.0, lambda _: None)


def test_no_step_is_recorded(generator: SampledGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    network: Any = generator.require().networks.network.module
    sample, records = network.langevin_dynamics_sample_diffusion, list[Any]()

    def keep(**arguments: Any) -> Any:
        positions, record = sample(**arguments)
        records.extend(record)
        return positions, record

    monkeypatch.setattr(network, "langevin_dynamics_sample_diffusion", keep)
    assert generate(generator, n=1).structures
    assert len(records) >= network.num_timesteps
    assert set(records) == {None}


def test_metadata_names_what_the_result_depends_on(generator: SampledGenerator, tmp_path: Path) -> None:
    card = generator.metadata
    assert card.generative
    assert card.weights_sha256 is not None
    assert {"torch", "rdkit", "pool", "threads", "batch", "device", "upstream", "checkpoint"} == set(card.versions)
    assert "modified" not in card.versions["upstream"]


def test_molecules_of_an_rdkit_service_are_sampled_and_what_it_refuses_is_refused(tmp_path: Path) -> None:
    require_upstream("geodiff")
    with serve(build_service("rdkit")) as url:
        generator = SampledGenerator(GeoDiff(GeoDiffSettings(checkpoint="small", weights=tmp_path, device="cpu", pool=url)))
        generator.load()
        (structure,) = generate(generator, n=1, min_atoms=8, max_atoms=12, options={}).structures
        assert structure.origin["pool"] == "rdkit"
        with pytest.raises(Unsupported, match="H and C missing"):
            generate(generator, elements=["N", "O"], options={})
        generator.close()
