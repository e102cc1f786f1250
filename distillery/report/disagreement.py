"""How far a dataset's labels are from those that its structures had before, which their `origin` keeps under `own`."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.units import GPa
from numpy.typing import NDArray

from distillery.dataset.blocks import Block, read_blocks
from distillery.dataset.element_energies import fit_elements
from distillery.dataset.layout import open_dataset
from distillery.schema.disagreement import Disagreement, Parity, SourceDisagreement

Floats = NDArray[np.float64]
MOST_POINTS = 3_000
"""Of a picture."""
_COMPONENTS = 6
"""Of the forces of a structure that may be drawn."""
_MOVED = ("perturb", "sample")
"""Keys of an origin that say that a structure is no more where it had its own labels."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Labels of one structure before and after.

    info       what the file tells of it
    energies   before and after, eV
    counts     atoms of each element, (119,)
    forces     before and after, eV/Å, (2, n_atoms, 3)
    pressures  before and after, GPa; None where not both have a stress
    """

    id: str
    source: str
    info: Mapping[str, Any]
    teacher: str
    energies: tuple[float, float]
    counts: NDArray[np.int64]
    forces: Floats
    pressures: tuple[float, float] | None


def measure_disagreement(path: Path) -> Disagreement | None:
    """Compare the labels of a dataset.h5 with its structures' own; None if none has any. Memory: some 1.5 kB a structure."""
    with open_dataset(path) as file:
        metadata = dict(file["metadata"].attrs)
    tally, n_moved = _Tally(), 0
    for block in read_blocks(path):
        pairs = list(find_pairs(block))
        n_moved += len(block) - len(pairs)
        for pair in pairs:
            tally.add(pair)
    if not tally.ids:
        return None
    return Disagreement(
        structures_sha256=str(metadata["structures_sha256"]),
        before=", ".join(tally.teachers) or "not recorded",
        after=str(metadata.get("teacher_model", "not recorded")),
        n_moved=n_moved,
        **tally.conclude(),
    )


def find_pairs(block: Block) -> Iterator[Pair]:
    """The structures of a block that lie where they had labels of their own."""
    for k, text in enumerate(block.texts["origin"]):
        if '"own"' not in text:
            continue
        origin = json.loads(text)
        own, info = origin.get("own") or {}, origin.get("info") or {}
        rows = block.rows(k)
        forces = np.array(own.get("forces", []), np.float64)
        is_moved = any(key in origin for key in _MOVED)
        if is_moved or own.get("energy") is None or forces.shape != (int(block.n_atoms[k]), 3) or not np.isfinite(forces).all():
            continue
        yield Pair(
            id=block.texts["id"][k],
            source=str(info.get("source", block.texts["source"][k])),
            info=info,
            teacher=str(own.get("teacher", "")),
            energies=(float(own["energy"]), float(block.energy[k])),
            counts=np.bincount(block.numbers[rows], minlength=119),
            forces=np.stack([forces, block.forces[rows].astype(np.float64)]),
            pressures=_compare_stress(own.get("stress"), block, k),
        )


def _compare_stress(own: Any, block: Block, k: int) -> tuple[float, float] | None:
    if own is None or not block.has_stress[k] or np.shape(own) != (6,):
        return None
    return -float(np.mean(own[:3])) / GPa, -float(block.stress[k, :3].mean()) / GPa


class _Tally:
    """What is kept of all pairs."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.teachers: dict[str, None] = {}
        self._source: list[str] = []
        self._energies: list[tuple[float, float]] = []
        self._counts: list[NDArray[np.int16]] = []
        self._forces: list[tuple[float, float, float, int]] = []
        self._pressures: list[float] = []
        self._drawn: list[Floats] = []

    def add(self, pair: Pair) -> None:
        """Keep sums, and some components for the picture."""
        before, after = pair.forces
        apart = after - before
        self.ids.append(pair.id)
        self.teachers |= {pair.teacher: None} if pair.teacher else {}
        self._source.append(pair.source)
        self._energies.append(pair.energies)
        self._counts.append(pair.counts.astype(np.int16))
        self._forces.append((float(np.abs(apart).sum()), float((apart**2).sum()), float(np.abs(before).sum()), apart.size))
        self._pressures.append(np.nan if pair.pressures is None else abs(pair.pressures[1] - pair.pressures[0]))
        spread = np.linspace(0, before.size - 1, min(_COMPONENTS, before.size)).astype(np.int64)
        self._drawn.append(np.stack([before.ravel()[spread], after.ravel()[spread]]))

    def conclude(self) -> dict[str, Any]:
        """The fields of `Disagreement` that are figures."""
        energies, counts = np.array(self._energies), np.array(self._counts)
        counts = counts[:, counts.any(axis=0)]
        bound = counts.sum(axis=1) > 1
        apart = np.zeros(len(energies))
        left = np.zeros((len(energies), 2))
        if bound.any():
            apart[bound] = fit_elements(energies[bound, 1] - energies[bound, 0], counts[bound])[1]
            left[bound] = np.stack([fit_elements(energies[bound, k], counts[bound])[1] for k in (0, 1)], axis=1)
        names = list(dict.fromkeys(self._source))
        source = np.array([names.index(name) for name in self._source])
        drawn, owner = np.concatenate(self._drawn, axis=1), np.repeat(source, [own.shape[1] for own in self._drawn])
        return {
            "sources": {name: self._describe(np.flatnonzero(source == k), apart) for k, name in enumerate(names)},
            "energies": _draw(left[:, 0], left[:, 1], source),
            "forces": _draw(drawn[0], drawn[1], owner),
        }

    def _describe(self, rows: NDArray[np.int64], apart: Floats) -> SourceDisagreement:
        own, forces = np.abs(1000 * apart[rows]), np.array(self._forces)[rows].sum(axis=0)
        pressures = np.array(self._pressures)[rows]
        pressures = pressures[np.isfinite(pressures)]
        worst = int(own.argmax())
        return SourceDisagreement(
            n_structures=len(rows),
            energy=_round(own.mean()),
            energy_rms=_round(np.sqrt((own**2).mean())),
            energy_worst=_round(own[worst]),
            energy_worst_id=self.ids[int(rows[worst])],
            forces=_round(1000 * forces[0] / forces[3]),
            forces_rms=_round(1000 * np.sqrt(forces[1] / forces[3])),
            forces_size=_round(1000 * forces[2] / forces[3]),
            pressure=_round(pressures.mean()) if pressures.size else None,
        )


def _round(value: float) -> float:
    return round(float(value), 3)


def _draw(before: Floats, after: Floats, source: NDArray[np.int64]) -> Parity:
    """At most MOST_POINTS pairs, evenly spread over all."""
    rows = np.unique(np.linspace(0, len(before) - 1, min(MOST_POINTS, len(before))).astype(np.int64))
    pairs = (np.round(values[rows], 5).tolist() for values in (before, after))
    return Parity(before=next(pairs), after=next(pairs), source=source[rows].tolist())
