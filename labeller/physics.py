"""Does a teacher keep the laws of physics? The labels of a structure are compared with those of its variants (labeller/variants.py).

The laws: the same structure has the same label in whatever batch; turning, shifting or renumbering it changes nothing else;
forces are minus the derivative of the energy by positions, stress is its derivative by strain over the volume (Nielsen & Martin,
Phys. Rev. B 32, 3780 (1985)); two copies far apart, and a doubled cell, have twice the energy; an ion has another label than the neutral
atoms in the same places, and so has a higher spin than the lowest.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from distillery.dataset.layout import Label
from distillery.schema.label import Law, PhysicsCheck, Reject
from distillery.structures.geometry import find_bonds
from distillery.structures.strain import VOIGT, list_work_factors
from distillery.structures.structure import Structure
from labeller.structure_queue import Outcome
from labeller.teachers.teacher import PhysicsTolerance
from labeller.variants import FAR_APART, Matrix, Variant

_THIRD_ORDER = 0.05
"""Of the second order's energy at a step of 0.01 Å: bonds stiffen or soften by some 3 per Å (Morse potentials: 2-4)."""
_ENERGY_DIGITS = 4e-7
"""Relative rounding of an energy summed in float32; a few units in the last place."""
_VOIGT_NAMES = ("xx", "yy", "zz", "yz", "xz", "xy")
_UNITS = {
    -1.0: "the sign",
    0.529177: "Bohr and Å",
    1.889726: "Bohr and Å",
    23.0605: "kcal/mol and eV",
    1 / 23.0605: "kcal/mol and eV",
    96.4853: "kJ/mol and eV",
    1 / 96.4853: "kJ/mol and eV",
    27.21139: "Hartree and eV",
    1 / 27.21139: "Hartree and eV",
    51.42207: "Hartree/Bohr and eV/Å",
    1 / 51.42207: "Hartree/Bohr and eV/Å",
    160.21766: "GPa and eV/Å³",
    1 / 160.21766: "GPa and eV/Å³",
    -160.21766: "sign, GPa and eV/Å³",
    -1 / 160.21766: "sign, GPa and eV/Å³",
    1602.1766: "kbar and eV/Å³",
    1602176.6: "bar and eV/Å³",
    -1602.1766: "sign, kbar and eV/Å³",
    160217.66: "MPa and eV/Å³",
    -1602176.6: "sign, bar and eV/Å³",
    183.6315: "Hartree/Bohr³ and eV/Å³",
    1 / 183.6315: "Hartree/Bohr³ and eV/Å³",
    6.748335: "Bohr³ and Å³",
    1 / 6.748335: "Bohr³ and Å³",
}
"""What may have been confused where labels are so many times what the energy says."""
_ALIKE = 0.03
_TELLING = frozenset({"repeat", "forces", "stress"})
"""Laws that are told first: where they are broken others often are as well, and tell less of what is wrong."""
_SAME_ENERGY, _SAME_FORCE = 1e-4, 1e-3
"""eV and eV/Å: labels that are no farther apart are one, but for rounding."""


def judge_laws(
    structure: Structure, label: Label, variants: Sequence[Variant], outcomes: Sequence[Outcome], tolerance: PhysicsTolerance
) -> Iterator[PhysicsCheck]:
    """What the labels of the variants say, a check for each law that was tried."""
    answered: dict[Law, list[tuple[Variant, Label]]] = {}
    for variant, outcome in zip(variants, outcomes, strict=True):
        if isinstance(outcome, Reject):
            yield _not_labelled(variant.law, structure, outcome)
        else:
            answered.setdefault(variant.law, []).append((variant, outcome))
    for law in sorted(answered, key=lambda law: law not in _TELLING):
        found = answered[law]
        if law in {"forces", "stress"}:
            if (differences := _differentiate(law, structure, label, found)).steps:
                check = _judge_derivative(law, structure, label, differences, tolerance)
                yield _judge_still(structure, found, check) if law == "forces" else check
        elif law == "extensivity":
            yield _judge_extensivity(structure, label, found[0][1], tolerance)
        elif law == "state":
            yield _judge_state(structure, label, found[0][1])
        else:
            yield from (_judge_symmetry(structure, label, variant, other, tolerance) for variant, other in found)


def _not_labelled(law: Law, structure: Structure, reject: Reject) -> PhysicsCheck:
    """Nothing is said where memory was short, or of another charge; a teacher that labels a structure must label it moved a little too."""
    passed = None if reject.reason == "out_of_memory" or law == "state" else False
    return PhysicsCheck(
        law=law,
        structure=structure.id,
        value=None,
        wanted="a label",
        passed=passed,
        detail=f"{law}: no label ({reject.reason}: {reject.detail})",
    )


def _judge_symmetry(structure: Structure, label: Label, variant: Variant, other: Label, tolerance: PhysicsTolerance) -> PhysicsCheck:
    """Energy, forces and stress of the same structure written otherwise; `repeat` is of the structure as it was."""
    turn = np.eye(3) if variant.rotation is None else variant.rotation
    order = np.arange(len(structure)) if variant.order is None else variant.order
    energy = float(abs(other.energy - label.energy)) / len(structure)
    wanted = label.forces[order].astype(np.float64) @ turn
    forces = float(np.abs(other.forces - wanted).max()) / (1.0 + float(np.abs(wanted).max()))
    stress = 0.0 if label.stress is None or other.stress is None else _compare_stress(structure, label.stress, other.stress, turn)
    worst = max(energy / tolerance.energy, forces / tolerance.forces, stress / tolerance.forces)
    where = {"repeat": "labelled again in another batch", "symmetry": "turned, shifted and renumbered"}.get(variant.law, variant.law)
    where += ", atoms by vectors of the lattice too" if structure.is_periodic and variant.law in {"symmetry", "translation"} else ""
    return PhysicsCheck(
        law=variant.law,
        structure=structure.id,
        value=energy,
        wanted=f"<= {tolerance.energy:g} eV/atom",
        passed=worst <= 1,
        detail=f"{where}: energy differs by {energy:.2g} eV/atom, forces by {forces:.2g} of 1 eV/Å and the largest"
        + (f", stress by {stress:.2g} of 1 eV/atom and the largest" if structure.is_periodic else ""),
    )


def _compare_stress(structure: Structure, stress: NDArray[np.float64], other: NDArray[np.float64], turn: Matrix) -> float:
    """How far two stresses are apart, one of the structure turned: as a share of 1 eV/atom and the largest, by the volume of an atom."""
    wanted, found = (structure.volume / len(structure) * _as_matrix(one) for one in (stress, other))
    return float(np.abs(found - turn.T @ wanted @ turn).max()) / (1.0 + float(np.abs(wanted).max()))


def _as_matrix(stress: NDArray[np.float64]) -> Matrix:
    matrix = np.zeros((3, 3))
    for component, (i, j) in zip(stress, VOIGT, strict=True):
        matrix[i, j] = matrix[j, i] = component
    return matrix


def _judge_state(structure: Structure, label: Label, plain: Label) -> PhysicsCheck:
    """A charge or spin that changes nothing was not read."""
    energy, forces = float(abs(plain.energy - label.energy)), float(np.abs(plain.forces - label.forces).max(initial=0.0))
    state = f"charge {structure.charge:+d}" if structure.charge else f"multiplicity {structure.spin_multiplicity}"
    return PhysicsCheck(
        law="state",
        structure=structure.id,
        value=energy,
        wanted=f"> {_SAME_ENERGY:g} eV, or other forces",
        passed=energy > _SAME_ENERGY + _ENERGY_DIGITS * abs(label.energy) or forces > _SAME_FORCE,
        detail=f"{state}: the label is that of neutral atoms with the lowest spin; does the teacher read {state.split()[0]}s?",
    )


def _judge_extensivity(structure: Structure, label: Label, double: Label, tolerance: PhysicsTolerance) -> PhysicsCheck:
    off = float(abs(double.energy - 2 * label.energy)) / (2 * len(structure))
    what = "a doubled cell" if structure.is_periodic else f"two copies {FAR_APART:g} Å apart"
    ratio = double.energy / label.energy if label.energy else float("inf")
    return PhysicsCheck(
        law="extensivity",
        structure=structure.id,
        value=off,
        wanted=f"<= {tolerance.energy:g} eV/atom",
        passed=off <= tolerance.energy,
        detail=f"energy: that of {what} is {ratio:.3f} times that of one, not 2"
        + (": an energy per atom?" if abs(ratio - 1) < _ALIKE else ""),
    )


def _judge_derivative(
    law: Law, structure: Structure, label: Label, differences: "Differences", tolerance: PhysicsTolerance
) -> PhysicsCheck:
    check = _judge_slope(law, structure, differences, tolerance)
    is_complete = law == "stress" and check.passed is False and len(differences.steps) == 6
    if not is_complete or label.stress is None:
        return check
    components = np.array([list_work_factors(step) for step in differences.steps])
    if order := _find_order(components, differences.found / structure.volume, label.stress):
        return check.model_copy(update={"detail": f"stress: the order of the components, {order} in place of xx yy zz yz xz xy"})
    return check


def _judge_still(structure: Structure, found: Sequence[tuple[Variant, Label]], check: PhysicsCheck) -> PhysicsCheck:
    """The check of the forces; broken too where some atoms with neighbours have none at all, however they are displaced.

    To the energy that may be right: they are frozen in it, or not in it at all.
    """
    is_moved = np.any([variant.step.any(axis=1) for variant, _ in found if variant.step is not None], axis=0)
    is_still = is_moved & ~np.any([label.forces.any(axis=1) for _, label in found], axis=0)
    if check.passed is not True or not is_still.any() or is_still.all():
        return check
    bonds = find_bonds(structure)
    still = np.intersect1d(np.flatnonzero(is_still), bonds.i[bonds.i != bonds.j])
    if not still.size:
        return check
    elements = " ".join(dict.fromkeys(chemical_symbols[z] for z in structure.numbers[still].tolist()))
    detail = f"forces: none at all on {still.size} of {len(structure)} atoms ({elements}), however they are moved: frozen, or left out?"
    return check.model_copy(update={"passed": False, "detail": detail})


def _predict(law: Law, structure: Structure, label: Label, step: Matrix, moved: float) -> float:
    """By how much the energy changes with a step, eV, as a label says of the structure that was moved by so many steps."""
    if law == "forces":
        return -float((label.forces * step).sum())
    assert label.stress is not None, "variants for a stress are made where there is one"
    deformation = np.eye(3) + moved * step
    strain = np.linalg.solve(deformation, step).astype(np.float64)
    return structure.volume * float(np.linalg.det(deformation)) * float(list_work_factors(strain) @ label.stress)


@dataclass(frozen=True, eq=False)
class Differences:
    """Differences of the energy along some steps.

    predicted  by the labels at either end and in the middle (Simpson's rule), eV, shape (n_steps,)
    found      half the energy at + less that at - a step, eV, shape (n_steps,)
    slack      how far they may be apart, eV, shape (n_steps,): rounding; the third order, which matters near a minimum, where the first is
               small, taken for a twentieth of the second; and where labels change much along the step, what that made of the prediction
    """

    steps: list[Matrix]
    predicted: NDArray[np.float64]
    found: NDArray[np.float64]
    slack: NDArray[np.float64]


def _differentiate(law: Law, structure: Structure, label: Label, found: Sequence[tuple[Variant, Label]]) -> Differences:
    """Of the steps that have a label at either end."""
    pairs = [(one[0].step, one[1], two[1]) for one, two in pairwise(found) if one[0].step is two[0].step]
    ends = [(step, plus, minus) for step, plus, minus in pairs if step is not None]
    plus, minus = np.array([one.energy for _, one, _ in ends]), np.array([other.energy for _, _, other in ends])
    middle = np.array([_predict(law, structure, label, step, 0) for step, _, _ in ends])
    outer = np.array([_predict(law, structure, one, step, 1) + _predict(law, structure, other, step, -1) for step, one, other in ends])
    predicted = (outer + 4 * middle) / 6
    curvature = np.abs(plus + minus - 2 * label.energy) / 2
    return Differences(
        steps=[step for step, _, _ in ends],
        predicted=predicted,
        found=(plus - minus) / 2,
        slack=_ENERGY_DIGITS * abs(label.energy) + _THIRD_ORDER * curvature + np.abs(predicted - middle),
    )


def _judge_slope(
    law: Law,
    structure: Structure,
    differences: Differences,
    tolerance: PhysicsTolerance,
) -> PhysicsCheck:
    """Labels against differences of the energy: slope 1 and cosine 1 where they belong together."""
    predicted, found = differences.predicted, differences.found
    scale = float(found @ found)
    slope = float(predicted @ found) / scale if scale > 0 else float("inf")
    norms = float(np.linalg.norm(predicted) * np.linalg.norm(found))
    cosine = float(predicted @ found) / norms if norms > 0 else 0.0
    agrees = abs(slope - 1) <= tolerance.slope and cosine >= tolerance.cosine
    is_lost_in_noise = bool((np.abs(predicted - found) <= differences.slack).all())
    return PhysicsCheck(
        law=law,
        structure=structure.id,
        value=slope if np.isfinite(slope) else None,
        wanted=f"slope 1 within {tolerance.slope:g}, cosine >= {tolerance.cosine:g}",
        passed=agrees or is_lost_in_noise,
        detail=f"{law}: {_explain(law, slope, cosine, predicted, found, structure)}",
    )


def _explain(
    law: str, slope: float, cosine: float, predicted: NDArray[np.float64], found: NDArray[np.float64], structure: Structure
) -> str:
    """In words what labels of this slope against the energy may be."""
    figures = f"slope {slope:.2f}" if abs(slope) >= 0.1 else f"slope {slope:.3g}"
    figures += f", cosine {cosine:.3f} against differences of the energy"
    if not predicted.any():
        return "all zero, yet the energy changes"
    if not found.any():
        return "the energy does not change, whatever moves"
    if abs(cosine) < 0.98:
        return f"they do not belong to the energy: of other atoms, of another structure, or either is noise; {figures}"
    for factor, what in {**_UNITS, **_list_sizes(law, structure)}.items():
        if abs(slope / factor - 1) < _ALIKE:
            return f"sign or unit, {figures}: {what}{'' if factor == -1.0 else ' confused'}?"
    return figures


def _list_sizes(law: str, structure: Structure) -> dict[float, str]:
    """What may have been confused that differs by the size of a structure."""
    n_atoms, sizes = float(len(structure)), dict[float, str]()
    if n_atoms > 1:
        sizes = {n_atoms: "energies per atom and of all", 1 / n_atoms: f"{law} per atom and of all"}
    if law == "stress":
        sizes |= {structure.volume: "virial and stress", -structure.volume: "sign, virial and stress"}
    return sizes


def _find_order(components: Matrix, wanted: NDArray[np.float64], stress: NDArray[np.float64]) -> str | None:
    """The order in which the components of a stress are, if another one explains the energy."""
    right = np.linalg.solve(components, wanted)
    for order in permutations(range(6)):
        given = right[list(order)]
        if np.linalg.norm(given - stress) <= _ALIKE * np.linalg.norm(stress):
            return " ".join(_VOIGT_NAMES[k] for k in order)
    return None
