"""Hessians of small structures, by central differences of the teacher's forces, checked for what any Hessian is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from distillery.dataset.layout import Label
from distillery.schema.label import Hessians, Reject
from distillery.structures.checks import Fault
from distillery.structures.structure import Structure
from labeller.structure_queue import LabelAll, Outcome

_MOST_AT_ONCE = 2_000
"""Displaced structures that are handed to the teacher together."""
_SHARE, _SLACK = 0.02, 0.02
"""Of the largest entry, and eV/Å²: that entries that should be equal may differ, and sums that should be zero be off, by noise of float32
forces and by the third order of the differences."""
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class HessiansMade:
    """The outcomes with a Hessian in every label that gets one, or a Reject in its place; the teacher's calls and time for it, s."""

    outcomes: list[Outcome]
    n_calls: int = 0
    seconds: float = 0.0


def make_hessians(label_all: LabelAll, structures: Sequence[Structure], outcomes: Sequence[Outcome], wanted: Hessians) -> HessiansMade:
    """Hessians of the labelled structures that are small enough."""
    made, n_calls, seconds = list(outcomes), 0, 0.0
    small = [k for k, outcome in enumerate(outcomes) if isinstance(outcome, Label) and len(structures[k]) <= wanted.max_atoms]
    for chosen in _cut(small, [6 * len(structure) for structure in structures]):
        moved = [variant for k in chosen for variant in displace(structures[k], wanted.step)]
        answer = label_all(moved)
        n_calls, seconds = n_calls + len(moved), seconds + answer.seconds
        found = iter(answer.outcomes)
        for k in chosen:
            own = [next(found) for _ in range(6 * len(structures[k]))]
            made[k] = _finish(structures[k], outcomes[k], own, wanted.step)
    return HessiansMade(made, n_calls, seconds)


def _cut(chosen: Sequence[int], sizes: Sequence[int]) -> Iterator[list[int]]:
    """Pieces of not too many displaced structures."""
    piece: list[int] = []
    for k in chosen:
        if piece and sum(sizes[own] for own in (*piece, k)) > _MOST_AT_ONCE:
            yield piece
            piece = []
        piece.append(k)
    if piece:
        yield piece


def displace(structure: Structure, step: float) -> list[Structure]:
    """The structure with each coordinate moved, forth and back, in the order x+ x- y+ y- z+ z- of the first atom, then of the next."""
    moved: list[Structure] = []
    for k in range(3 * len(structure)):
        for way in (step, -step):
            positions = structure.positions.copy()
            positions[k // 3, k % 3] += way
            moved.append(replace(structure, id=f"{structure.id}#h{len(moved)}", positions=positions))
    return moved


def _finish(structure: Structure, outcome: Outcome, found: Sequence[Outcome], step: float) -> Outcome:
    """The label with its Hessian, or why it has none."""
    assert isinstance(outcome, Label)
    refused = next((own for own in found if isinstance(own, Reject)), None)
    if refused is not None:
        fault: Fault | None = Fault("no_hessian", f"displaced a little it has no label ({refused.reason}: {refused.detail})")
    else:
        hessian = differentiate([own.forces for own in found if isinstance(own, Label)], step)
        fault = find_hessian_fault(hessian)
    if fault is not None:
        return Reject(id=structure.id, reason=fault.reason, detail=fault.detail, stage="label")
    return replace(outcome, hessian=(0.5 * (hessian + hessian.T)).astype(np.float32))


def differentiate(forces: Sequence[NDArray[np.float32]], step: float) -> Matrix:
    """Minus the forces' derivatives, eV/Å², shape (3 n, 3 n), of the forces of `displace`, eV/Å."""
    rows = np.array([own.astype(np.float64).ravel() for own in forces])
    hessian: Matrix = (rows[1::2] - rows[::2]) / (2 * step)
    return hessian


def find_hessian_fault(hessian: Matrix) -> Fault | None:
    """Why a matrix is no Hessian of an energy: it is not symmetric, or does not vanish where all atoms move together; None if it is one."""
    most = _SHARE * float(np.abs(hessian).max()) + _SLACK
    asymmetry = float(np.abs(hessian - hessian.T).max())
    if not asymmetry <= most:
        return Fault("no_hessian", f"it is not symmetric: entries differ by {asymmetry:.3g} eV/Å², at most {most:.3g}; no energy's forces?")
    shift = float(np.abs((0.5 * (hessian + hessian.T)).reshape(len(hessian), -1, 3).sum(axis=1)).max())
    if not shift <= most:
        return Fault("no_hessian", f"moving all atoms alike gives forces of {shift:.3g} eV/Å², at most {most:.3g}")
    return None
