"""MolDiff itself: upstream's networks and sampler with the small checkpoint."""

import pickle
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distillery.errors import Unavailable, Unsupported
from distillery.generators.generator import Made, resolve_task
from distillery.generators.models.model import ReportProgress
from distillery.generators.models.sampling import SampledGenerator
from distillery.runtime.stopping import Stopped
from distillery.schema.generate import GenerateRequest
from distillery.structures.checks import find_chemistry_fault, find_input_fault
from services.moldiff.model import FOLDER, MolDiff
from services.moldiff.networks import Networks
from services.moldiff.settings import MolDiffSettings
from services.moldiff.sketch import Sketch
from tests.upstream import require_upstream

ELEMENTS = ("H", "C", "N", "O", "F", "P", "S", "Cl")


class Never:
    def is_set(self) -> bool:
        return False


def make_generator(tmp_path: Path, **settings: Any) -> SampledGenerator:
    require_upstream("moldiff")
    made = SampledGenerator(MolDiff(MolDiffSettings(**{"checkpoint": "small", "weights": tmp_path, "device": "cpu", **settings})))
    made.load()
    return made


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SampledGenerator]:
    generator = make_generator(tmp_path_factory.mktemp("weights"))
    yield generator
    generator.close()


def generate(generator: SampledGenerator, **changes: Any) -> Made:
    request = GenerateRequest(**{"n": 4, "seed": 5, "elements": ELEMENTS, "min_atoms": 10, "max_atoms": 40, **changes})
    return generator.generate(resolve_task(request, generator), Never(), lambda made, n: None)


def contents(made: Made) -> list[tuple[Any, ...]]:
    return [(s.numbers.tobytes(), s.positions.tobytes(), dict(s.origin)) for s in made.structures]


def test_samples_are_sane_molecules_with_hydrogens(generator: SampledGenerator) -> None:
    made = generate(generator)
    assert len(made.structures) == 4
    for s in made.structures:
        assert 10 <= len(s) <= 40
        assert "H" in s.symbols
        assert find_input_fault(s, ELEMENTS) is None
        assert find_chemistry_fault(s) is None
        assert {"model", "checkpoint", "seed", "batch", "place", "smiles"} <= set(s.origin)
    assert made.attempts == len(made.structures) + sum(made.rejected.values())


def test_the_same_seed_gives_the_same_structures_after_other_requests(generator: SampledGenerator) -> None:
    before = contents(generate(generator, n=3))
    assert contents(generate(generator, seed=6, n=1)) != before[:1]
    assert contents(generate(generator, n=3)) == before


def test_a_service_that_was_started_anew_gives_the_same_structures(generator: SampledGenerator, tmp_path: Path) -> None:
    assert contents(generate(make_generator(tmp_path), n=2)) == contents(generate(generator, n=2))


def test_elements_are_masked_in_the_model(generator: SampledGenerator) -> None:
    made = generate(generator, elements=("H", "C"), n=3)
    assert all(set(s.symbols) == {"H", "C"} for s in made.structures)
    assert "unknown_element" not in made.rejected


def test_bond_guidance_changes_the_samples(generator: SampledGenerator) -> None:
    guided = generate(generator, n=1, options={"bond_guidance": True, "guidance_scale": 1e-2})
    assert contents(guided) != contents(generate(generator, n=1, options={"bond_guidance": False}))


def test_bonds_are_guided_unless_told_otherwise_where_there_is_a_predictor(
    generator: SampledGenerator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scales: set[float | None] = set()

    def sample(self: Networks, sizes: Sequence[int], numbers: frozenset[int], scale: float | None, report: ReportProgress) -> list[Sketch]:
        scales.add(scale)
        return [Sketch(np.array([6, 6], dtype=np.uint8), np.full((2, 3), np.nan), {})] * len(sizes)

    alone = make_generator(tmp_path, checkpoint=str(FOLDER / "small" / "MolDiff.pt"))
    monkeypatch.setattr(Networks, "sample", sample)
    wanted: list[tuple[SampledGenerator, dict[str, bool], float | None]] = [
        (generator, {}, 1e-4),
        (generator, {"bond_guidance": False}, None),
        (alone, {}, None),
    ]
    for maker, options, scale in wanted:
        scales.clear()
        generate(maker, n=1, options=options)
        assert scales == {scale}


def test_heavy_atoms_are_as_many_as_the_options_say(generator: SampledGenerator) -> None:
    made = generate(generator, n=2, options={"min_heavy_atoms": 6, "max_heavy_atoms": 6})
    assert {int((s.numbers > 1).sum()) for s in made.structures} == {6}


def test_progress_grows_step_by_step_and_ends_at_n(generator: SampledGenerator) -> None:
    seen: list[float] = []
    task = resolve_task(GenerateRequest(n=2, seed=5, elements=ELEMENTS, min_atoms=10, max_atoms=40), generator)
    generator.generate(task, Never(), lambda made, n: seen.append(made))
    assert seen[-1] == 2
    assert len(seen) > 100


def test_a_stop_is_seen_within_a_step_and_leaves_the_model_as_it_was(generator: SampledGenerator) -> None:
    expected = contents(generate(generator, n=2))
    stop, steps = threading.Event(), []
    task = resolve_task(GenerateRequest(n=50, seed=9, elements=ELEMENTS, min_atoms=10, max_atoms=40), generator)

    def count(made: float, n: int) -> None:
        steps.append(made)
        if len(steps) == 5:
            stop.set()

    with pytest.raises(Stopped):
        generator.generate(task, stop, count)
    assert len(steps) == 5
    assert contents(generate(generator, n=2)) == expected


def test_memory_that_does_not_suffice_halves_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = make_generator(tmp_path)
    model: Any = generator._model
    draw, asked = model.draw, []

    def draw_little(task: Any, loaded: Any, n: int, *rest: Any) -> Any:
        asked.append(n)
        if n > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return draw(task, loaded, n, *rest)

    monkeypatch.setattr(model, "draw", draw_little)
    assert generate(generator, n=2).structures
    assert asked[:2] == [2, 1]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"elements": ("C", "N")}, "must include H and C"),
        ({"elements": ("H", "O")}, "C missing"),
        ({"elements": ("H", "C", "Si")}, "cannot make Si"),
        ({"min_atoms": 80, "max_atoms": 100, "options": {"max_heavy_atoms": 9}}, "2-9 heavy atoms"),
        ({"system": "crystal"}, "cannot make a crystal"),
    ],
)
def test_what_it_can_not_make_is_refused_by_name(generator: SampledGenerator, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(Unsupported, match=named):
        generate(generator, **changes)


def test_guidance_without_a_bond_predictor_says_what_is_missing(tmp_path: Path) -> None:
    alone = make_generator(tmp_path, checkpoint=str(FOLDER / "small" / "MolDiff.pt"))
    assert generate(alone, n=1).structures
    with pytest.raises(Unsupported, match=r"bond_predictor\.pt"):
        generate(alone, options={"bond_guidance": True})


def test_a_bond_predictor_alone_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no diffusion network"):
        make_generator(tmp_path, checkpoint=str(FOLDER / "small" / "bond_predictor.pt"))


def test_two_diffusion_networks_are_refused(tmp_path: Path) -> None:
    for name in ("one.pt", "two.pt"):
        shutil.copy(FOLDER / "small" / "MolDiff.pt", tmp_path / name)
    with pytest.raises(Unavailable, match="one diffusion network"):
        make_generator(tmp_path, checkpoint=str(tmp_path))


def test_a_checkpoint_that_would_run_something_is_refused(tmp_path: Path) -> None:
    class Mischief:
        def __reduce__(self) -> tuple[Any, ...]:
            return print, ("run",)

    torch.save({"config": Mischief(), "model": {}}, tmp_path / "bad.pt", pickle_module=pickle)
    with pytest.raises(Unavailable, match="print"):
        make_generator(tmp_path, checkpoint=str(tmp_path / "bad.pt"))


def test_metadata_names_weights_upstream_and_device(generator: SampledGenerator) -> None:
    card = generator.metadata
    assert card.weights_sha256 is not None
    assert card.versions["upstream"].startswith("db62fa1b3e94")
    assert card.versions["device"].startswith("cpu ")
    assert card.versions["checkpoint"] == "small"
    assert {"torch", "rdkit", "threads", "batch", "device", "upstream", "checkpoint"} == set(card.versions)


def test_sampling_leaves_no_hooks_behind(generator: SampledGenerator) -> None:
    diffusion = generator.require().networks.diffusion
    assert not diffusion._forward_pre_hooks
    assert not diffusion.node_decoder._forward_hooks
    assert np.isfinite(generate(generator, n=1).structures[0].positions).all()
