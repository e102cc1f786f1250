"""Labels are checked before they are believed: shapes, numbers, limits, and forces that move or turn the whole."""

from dataclasses import replace

import numpy as np
import pytest

from distillery.dataset.layout import Label
from distillery.schema.label import LabelLimits
from distillery.structures.structure import Structure
from labeller.label_checks import find_label_fault, find_limit_fault, find_net_fault
from labeller.teachers.teacher import CONSERVATIVE
from tests.structures import silicon, water

TOLERANCE = replace(CONSERVATIVE, net_force=0.01)
LIMITS = LabelLimits(force=50, pressure=100, energy=5)


def label_of(structure: Structure, **change: object) -> Label:
    stress = np.zeros(6) if structure.is_periodic else None
    return replace(Label(-1.0, np.zeros((len(structure), 3), np.float32), stress), **change)


@pytest.mark.parametrize("structure", [water(), silicon()], ids=["molecule", "crystal"])
def test_a_whole_label_of_finite_numbers_is_one(structure: Structure) -> None:
    assert find_label_fault(structure, label_of(structure)) is None


def test_a_crystal_may_have_no_stress() -> None:
    assert find_label_fault(silicon(), label_of(silicon(), stress=None)) is None


@pytest.mark.parametrize(
    ("structure", "change", "reason", "detail"),
    [
        (water(), {"forces": np.zeros((2, 3))}, "wrong_shape", "forces must have the shape (3, 3), got (2, 3)"),
        (water(), {"forces": np.zeros(9)}, "wrong_shape", "forces must have the shape (3, 3), got (9,)"),
        (silicon(), {"stress": np.zeros((3, 3))}, "wrong_shape", "the stress must have the shape (6,), got (3, 3)"),
        (water(), {"stress": np.zeros(6)}, "wrong_shape", "a structure that is not periodic has no stress, yet the teacher gave one"),
        (water(), {"energy": float("nan")}, "not_finite_label", "the energy is nan"),
        (water(), {"forces": np.full((3, 3), np.inf)}, "not_finite_label", "forces or stress hold NaN or infinity"),
        (silicon(), {"stress": np.array([0, 0, 0, 0, 0, np.nan])}, "not_finite_label", "forces or stress hold NaN or infinity"),
    ],
)
def test_what_is_no_label_is_named(structure: Structure, change: dict[str, object], reason: str, detail: str) -> None:
    fault = find_label_fault(structure, label_of(structure, **change))
    assert fault is not None
    assert (fault.reason, fault.detail) == (reason, detail)


@pytest.mark.parametrize(
    ("force", "gpa", "reason", "detail"),
    [
        (50.0, 0.0, None, ""),
        (50.1, 0.0, "large_force", "the largest force is 50.1 eV/Å, at most 50"),
        (0.0, 99.9, None, ""),
        (0.0, 100.1, "large_pressure", "the pressure is 100.1 GPa, at most 100 either way"),
        (0.0, -100.1, "large_pressure", "the pressure is -100.1 GPa, at most 100 either way"),
    ],
)
def test_what_lies_beyond_the_limits_is_named(force: float, gpa: float, reason: str | None, detail: str) -> None:
    """The force is a vector's length, the pressure minus a third of the stress's trace; shear is no pressure."""
    forces = np.zeros((8, 3), np.float32)
    forces[3] = force * np.array([0.6, 0, 0.8])
    stress = np.array([-3 * gpa / 160.21766208, 0, 0, 9, 9, 9])
    fault = find_limit_fault(label_of(silicon(), forces=forces, stress=stress), LIMITS)
    assert (fault.reason if fault else None, fault.detail if fault else "") == (reason, detail)
    assert find_limit_fault(label_of(water(), forces=forces[:3] * 0), LIMITS) is None


def pushed(*rows: tuple[int, float, float, float]) -> np.ndarray:
    """Forces on a water: of an atom, and its three components."""
    forces = np.zeros((3, 3), np.float32)
    for atom, *force in rows:
        forces[atom] += force
    return forces


@pytest.mark.parametrize(
    ("forces", "reason"),
    [
        (pushed((0, 0, 0, 1), (1, 0, 0, -0.5), (2, 0, 0, -0.5)), None),
        (pushed((0, 0, 0, 1), (1, 0, 0, -0.485), (2, 0, 0, -0.485)), "net_force"),  # 0.03 of 1.97
        (pushed((0, 0, 0, 1), (1, 0, 0, -0.495), (2, 0, 0, -0.495)), None),  # 0.01 of 1.99
        (pushed((1, 0, 0, 1), (2, 0, 0, -1)), "torque"),
        (pushed((1, 0, 0, 5e-4), (2, 0, 0, -5e-4)), None),
        (pushed((0, 0, 0, 5e-4)), None),
        (pushed((0, 0, 0, 2e-3)), "net_force"),
    ],
)
def test_no_forces_move_or_turn_the_whole(forces: np.ndarray, reason: str | None) -> None:
    fault = find_net_fault(water(), label_of(water(), forces=forces), TOLERANCE)
    assert (fault.reason if fault else None) == reason


def test_what_is_periodic_may_have_a_torque_but_no_net_force() -> None:
    forces = np.zeros((8, 3), np.float32)
    forces[0], forces[1] = (0, 0, 1), (0, 0, -1)
    assert find_net_fault(silicon(), label_of(silicon(), forces=forces), TOLERANCE) is None
    forces[1] = 0
    fault = find_net_fault(silicon(), label_of(silicon(), forces=forces), TOLERANCE)
    assert fault is not None
    assert fault.detail == "the forces add up to 1 eV/Å, of 1 in all: forces of another structure?"


def test_a_torque_is_told_with_its_size() -> None:
    fault = find_net_fault(water(), label_of(water(), forces=pushed((1, 0, 0, 1), (2, 0, 0, -1))), TOLERANCE)
    assert fault is not None
    distance = np.linalg.norm(water().positions[1] - water().positions[2])
    assert fault.detail.startswith(f"the forces have a torque of {distance:.3g} eV, of ")


@pytest.mark.parametrize(("turn", "reason"), [(0.05, None), (0.2, "torque")])
def test_a_torque_is_judged_by_the_forces_there_are_wherever_the_structure_lies(turn: float, reason: str | None) -> None:
    """The hydrogens are pulled apart with 10 eV/Å and a little turned."""
    far = replace(water(), positions=water().positions + 100.0)
    apart = 10 * (water().positions[1] - water().positions[2]) / np.linalg.norm(water().positions[1] - water().positions[2])
    forces = pushed((1, *apart), (2, *-apart), (1, turn, 0, 0), (2, -turn, 0, 0))
    for structure in (water(), far):
        fault = find_net_fault(structure, label_of(structure, forces=forces), TOLERANCE)
        assert (fault.reason if fault else None) == reason
