"""Energy, forces and stress along a path: what belongs together passes, what does not is refused, at no label more."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from distillery.dataset.layout import Label
from distillery.schema.label import Reject
from distillery.schema.sample import MolecularDynamics, Rattle, Relax, Sample
from distillery.structures.strain import apply_strain
from distillery.structures.structure import Structure
from labeller.sampling import Sampler
from labeller.structure_queue import Labelled
from labeller.teachers.teacher import CONSERVATIVE
from labeller.work_of_forces import Point, find_work_fault
from tests.fake_teacher import pair_label
from tests.labelling import methane, moved, silicon
from tests.unit.test_sampling_by_teacher import some_molecules, springs

SHAKE = Sample(relax=Relax(steps=20), rattle=Rattle(width=(0.02, 0.03)))
SAMPLES = {
    "displaced": SHAKE,
    "kept on the way": Sample(relax=Relax(steps=2, every=1), rattle=Rattle(temperature=(150, 450)), keep=3),
    "moved": Sample(md=MolecularDynamics(steps=10, every=5, temperature=(300, 600)), keep=2),
}


def sample(spoil: Callable[[Structure, Label], Label], wanted: Sample = SHAKE) -> list[str]:
    """Why frames of three molecules are refused, those that the rattle tears apart left out."""

    def label_all(batch: Sequence[Structure]) -> Labelled:
        return Labelled([spoil(s, springs(s)) for s in batch], 0.0)

    outcomes = Sampler(label_all, wanted, 1).make_frames(some_molecules()).outcomes
    return [outcome.reason for outcome in outcomes if isinstance(outcome, Reject) and outcome.reason != "fragments"]


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sound_teacher_passes(name: str) -> None:
    assert sample(lambda s, label: label, SAMPLES[name]) == []


def _flip(label: Label) -> Label:
    return replace(label, forces=-label.forces)


def _halve(label: Label) -> Label:
    return replace(label, forces=np.float32(0.4) * label.forces)


def _lift(label: Label) -> Label:
    return replace(label, energy=label.energy + 2.0)


@pytest.mark.parametrize("spoil", [_flip, _halve, _lift])
def test_one_structure_with_labels_that_do_not_belong_together_is_found(spoil: Callable[[Label], Label]) -> None:
    """As where a teacher is wrong for one rare element, or once in a great while: no other structure is refused."""

    def at_the_end(s: Structure, label: Label) -> Label:
        """The last label of one alone: by then it has its parent in `origin`."""
        return spoil(label) if s.id.endswith("0002") and "sample" in s.origin else label

    assert sample(at_the_end) == ["work"]


@pytest.mark.parametrize("spoil", [_flip, _halve])
def test_a_structure_whose_labels_never_belong_together_goes_no_further(spoil: Callable[[Label], Label]) -> None:
    assert sample(lambda s, label: spoil(label) if "/0002" in s.id else label) == ["work"]


def test_a_strain_does_its_work_by_the_stress() -> None:
    before = apply_strain(silicon("a", seed=3), -0.1 * np.eye(3))
    after = apply_strain(before, np.array([[0.02, 0.01, 0], [0.01, 0.02, 0], [0, 0, 0.02]]))
    one, other = Point(before, pair_label(before)), Point(after, pair_label(after))
    assert find_work_fault(one, other, CONSERVATIVE) is None
    assert other.label.stress is not None
    wrong = replace(other.label, stress=-other.label.stress)
    fault = find_work_fault(one, Point(after, wrong), CONSERVATIVE)
    assert fault is not None
    assert fault.detail.startswith(f"the energy changes by {other.label.energy - one.label.energy:.3g} eV, where forces and stress say ")
    assert find_work_fault(one, Point(after, replace(wrong, stress=None)), CONSERVATIVE) is None


def test_of_a_long_way_nothing_is_said() -> None:
    before = methane("a")
    far = moved(before, np.eye(5, 3) * 0.5)
    assert find_work_fault(Point(before, pair_label(before)), Point(far, replace(pair_label(far), energy=100.0)), CONSERVATIVE) is None


def test_of_walls_that_are_steeper_than_labels_may_be_nothing_is_said() -> None:
    before = methane("a")
    near = moved(before, np.eye(5, 3) * 0.1)
    label = pair_label(before)
    for largest, is_judged in ((49.0, True), (51.0, False)):
        forces = label.forces.copy()
        forces[0] = (largest, 0.0, 0.0)
        lifted = replace(label, energy=label.energy + 100.0, forces=forces)
        assert (find_work_fault(Point(before, label), Point(near, lifted), CONSERVATIVE) is not None) is is_judged
