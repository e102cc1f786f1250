"""What a sampler says of each frame, and what becomes of those that go wrong on their way."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from distillery.dataset.layout import Label
from distillery.schema.label import Reject
from distillery.schema.sample import MolecularDynamics, Rattle, Relax, Sample
from distillery.structures.identity import structure_hash
from distillery.structures.structure import Structure
from labeller import sampling
from labeller.sampling import Sampled, Sampler
from labeller.structure_queue import Labelled
from tests.fake_teacher import pair_label
from tests.labelling import methane, silicon, water
from tests.structures import copper_slab

PROPOSALS = [water("p/0000"), silicon("p/0001"), methane("p/0002")]


def gentle(structure: Structure) -> Label:
    """Forces so small that a few steps spoil no bond."""
    label, stress = pair_label(structure), pair_label(structure).stress
    return Label(0.01 * label.energy, np.float32(0.01) * label.forces, None if stress is None else 0.01 * stress)


def by_pairs(structures: Sequence[Structure]) -> Labelled:
    return Labelled([gentle(structure) for structure in structures], 0.25)


def make_frames(sample: Sample, proposals: Sequence[Structure] = PROPOSALS, label_all: Any = by_pairs, seed: int = 1) -> Sampled:
    return Sampler(label_all, sample, seed).make_frames(proposals)


def read_origins(sampled: Sampled) -> list[dict[str, Any]]:
    return [s.origin["sample"] for s in sampled.structures]


# strain and rattle


def test_what_is_periodic_is_strained_and_its_atoms_follow() -> None:
    sampled = make_frames(Sample(strain=0.05))
    crystal, proposal = sampled.structures[1], PROPOSALS[1]
    strain = np.linalg.solve(proposal.cell, crystal.cell) - np.eye(3)
    assert strain == pytest.approx(strain.T)
    assert 0.01 < np.abs(strain).max() <= 0.05
    assert crystal.positions == pytest.approx(proposal.positions @ (np.eye(3) + strain))
    assert read_origins(sampled)[1]["strain"] == pytest.approx(
        [strain[i, j] for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))], abs=1e-6
    )
    assert read_origins(sampled)[1]["strain"] == [round(component, 6) for component in read_origins(sampled)[1]["strain"]]
    for k in (0, 2):
        assert np.array_equal(sampled.structures[k].positions, PROPOSALS[k].positions)
        assert "strain" not in read_origins(sampled)[k]


def test_without_a_strain_nothing_is_drawn_for_it() -> None:
    """So that displacements are the same as they were for recipes that know no strain."""
    sampled = make_frames(Sample(rattle=Rattle(width=(0.05, 0.05))))
    assert np.array_equal(sampled.structures[1].cell, PROPOSALS[1].cell)
    assert all("strain" not in told for told in read_origins(sampled))


def test_a_slab_is_strained_in_its_plane() -> None:
    slab = copper_slab()
    (strained,) = make_frames(Sample(strain=0.05), [slab]).structures
    assert np.array_equal(strained.cell[2], slab.cell[2])
    assert not np.allclose(strained.cell, slab.cell)


def test_displacements_are_as_wide_as_drawn_and_the_width_is_told() -> None:
    many = [water(f"p/{k:04d}") for k in range(200)]
    sampled = make_frames(Sample(rattle=Rattle(width=(0.02, 0.04))), many)
    steps = np.array([s.positions - p.positions for s, p in zip(sampled.structures, many, strict=True)])
    widths = np.array([told["rattle"] for told in read_origins(sampled)])
    assert 0.02 <= widths.min() < 0.021
    assert 0.039 < widths.max() <= 0.04
    assert widths.tolist() == [round(width, 4) for width in widths.tolist()]
    assert ((steps**2).mean(axis=(1, 2)) / widths**2).mean() == pytest.approx(1.0, abs=0.1)
    assert abs(steps.mean()) < 0.002


def test_displacements_by_heat_tell_their_temperature() -> None:
    many = [water(f"p/{k:04d}") for k in range(50)]
    sampled = make_frames(Sample(rattle=Rattle(temperature=(100, 400))), many)
    kelvin = np.array([told["temperature"] for told in read_origins(sampled)])
    assert 100 <= kelvin.min() < 140
    assert 360 < kelvin.max() <= 400
    assert kelvin.tolist() == [round(own, 1) for own in kelvin.tolist()]
    assert all("rattle" not in told for told in read_origins(sampled))
    widths = [float((s.positions - p.positions).std()) for s, p in zip(sampled.structures, many, strict=True)]
    hot, cold = kelvin > 250, kelvin < 250
    assert np.mean(np.array(widths)[hot]) > np.mean(np.array(widths)[cold])


# frames


def test_a_frame_says_what_it_is_of_and_which_of_how_many() -> None:
    sample = Sample(relax=Relax(steps=2, every=1, until=0.0), rattle=Rattle(width=(0.03, 0.03)), keep=2)
    sampled = make_frames(sample)
    assert [s.id for s in sampled.structures] == [f"p/{k:04d}/{frame}" for k in range(3) for frame in range(2)]
    for k, told in enumerate(read_origins(sampled)):
        proposal = PROPOSALS[k // 2]
        assert (told["parent"], told["parent_hash"]) == (proposal.id, structure_hash(proposal))
        assert (told["frame"], told["of"], told["relax_steps"]) == (k % 2, 2, 1 + k % 2), "the last ones"
        assert sampled.structures[k].origin["name" if k // 2 != 1 else "prototype"]
    one = make_frames(Sample(rattle=Rattle(width=(0.03, 0.03))))
    assert [(s.id, s.origin["sample"]["frame"], s.origin["sample"]["of"]) for s in one.structures] == [(p.id, 0, 1) for p in PROPOSALS]


def test_calls_and_the_teachers_time_are_summed_up() -> None:
    sampled = make_frames(Sample(relax=Relax(steps=3, until=0.0)))
    assert (sampled.n_calls, sampled.seconds) == (3 * 3 + 3, 4 * 0.25)


def test_forces_that_are_small_enough_end_the_way_down_before_a_step() -> None:
    """By the largest norm of an atom's force, not by a component."""
    force = float(np.linalg.norm(gentle(PROPOSALS[0]).forces, axis=1).max())
    for until, steps in ((1.01 * force, 0), (0.99 * force, 1)):
        sampled = make_frames(Sample(relax=Relax(steps=1, until=until)), PROPOSALS[:1])
        assert read_origins(sampled)[0]["relax_steps"] == steps


def test_dynamics_keep_every_so_many_steps_by_their_own_labels() -> None:
    sampled = make_frames(Sample(md=MolecularDynamics(temperature=(100, 300), steps=4, every=2, timestep=0.1), keep=2))
    assert [told["md"] for told in read_origins(sampled)] == [2, 4] * 3
    assert sampled.n_calls == 4 * 3
    for structure, outcome in zip(sampled.structures, sampled.outcomes, strict=True):
        assert isinstance(outcome, Label)
        assert np.array_equal(outcome.forces, gentle(structure).forces)
    assert all(told["temperature"] == round(told["temperature"], 1) for told in read_origins(sampled))


# what goes wrong


class Jump:
    """Dynamics in which all atoms go so far in each step."""

    def __init__(self, by: float) -> None:
        self.by = by

    def drift(self, positions: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return positions + np.array([0.0, self.by, 0.0])

    def kick(self, forces: np.ndarray[Any, Any]) -> None:
        """They do not care for forces."""


@pytest.mark.parametrize(("by", "is_sound"), [(0.99, True), (1.01, False), (float("nan"), False)])
def test_a_step_of_more_than_an_angstrom_is_an_explosion(monkeypatch: pytest.MonkeyPatch, by: float, is_sound: bool) -> None:
    monkeypatch.setattr(sampling, "Langevin", lambda *_: Jump(by))
    sampled = make_frames(Sample(md=MolecularDynamics(steps=2, every=2)), PROPOSALS[:1])
    (outcome,) = sampled.outcomes
    assert isinstance(outcome, Label) is is_sound
    if isinstance(outcome, Reject):
        assert (outcome.id, outcome.reason, outcome.stage) == ("p/0000", "exploded", "label")
        assert outcome.detail == f"an atom moved {by:.2g} Å in one step of the dynamics, at most 1"
        assert sampled.n_calls == 0, "nothing is asked of a teacher about it"


def collapse(structures: Sequence[Structure]) -> Labelled:
    """Forces of one proposal that pull two atoms together: 0.1 Å a step is the most that the way down takes."""
    labels = []
    for structure in structures:
        label = gentle(structure)
        if structure.id.startswith("p/0000"):
            apart, pull = structure.positions[0] - structure.positions[1], np.zeros((3, 3), np.float32)
            pull[:2] = -1e4 * apart, 1e4 * apart
            label = replace(label, energy=5e3 * float(apart @ apart), forces=pull)
        labels.append(label)
    return Labelled(labels, 0.0)


def test_what_is_unsound_on_its_way_is_refused_as_it_was_and_harms_no_other() -> None:
    sampled = make_frames(Sample(relax=Relax(steps=12, until=0.0)), label_all=collapse)
    assert [s.id for s in sampled.structures] == ["p/0001", "p/0002", "p/0000"]
    assert np.array_equal(sampled.structures[-1].positions, PROPOSALS[0].positions)
    refused = sampled.outcomes[-1]
    assert isinstance(refused, Reject)
    assert (refused.id, refused.stage) == ("p/0000", "label")
    assert refused.detail.startswith("while it was sampled: ")
    assert [isinstance(outcome, Label) for outcome in sampled.outcomes] == [True, True, False]
    alone = make_frames(Sample(relax=Relax(steps=12, until=0.0)), PROPOSALS[1:])
    assert np.array_equal(alone.structures[0].positions, sampled.structures[0].positions)


def test_what_the_teacher_refuses_on_the_way_is_refused_by_its_words() -> None:
    def refuse(structures: Sequence[Structure]) -> Labelled:
        failed = Reject(id="x", reason="teacher_failed", detail="its words", stage="label")
        return Labelled([failed if s.id == "p/0001" else gentle(s) for s in structures], 0.0)

    sampled = make_frames(Sample(relax=Relax(steps=2)), label_all=refuse)
    refused = sampled.outcomes[-1]
    assert isinstance(refused, Reject)
    assert (refused.id, refused.reason, refused.detail) == ("p/0001", "teacher_failed", "its words")
    assert [s.id for s in sampled.structures] == ["p/0000", "p/0002", "p/0001"]
    assert sampled.n_calls == 3 + 2 + 2


def test_a_frame_that_is_unsound_is_refused_and_not_labelled() -> None:
    """Displaced so far that atoms lie on one another or come loose."""
    sampled = make_frames(Sample(rattle=Rattle(width=(1.0, 1.0))), [water(f"p/{k:04d}") for k in range(30)])
    refused = [outcome for outcome in sampled.outcomes if isinstance(outcome, Reject)]
    assert len(refused) > 10
    assert sampled.n_calls == 30 - len(refused)
    for structure, outcome in zip(sampled.structures, sampled.outcomes, strict=True):
        if isinstance(outcome, Reject):
            assert (outcome.id, outcome.stage) == (structure.id, "label")
            assert outcome.detail.startswith("after sampling: ")
        else:
            assert np.array_equal(outcome.forces, gentle(structure).forces)
