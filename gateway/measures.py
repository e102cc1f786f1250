"""What a dataset is made of, measured from its parts one at a time."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from contract.geometry import find_pairs, sum_of_radii
from contract.layout import Arrays, select_structures
from contract.messages import Receipt
from contract.parts import Part
from contract.structures import Structure

_N_ELEMENTS = len(chemical_symbols)
_CONTACT_SAMPLE = 50
"""Structures of a part whose shortest contact is measured."""


@dataclass
class SourceMeasures:
    """One source's structures in the dataset, and what was lost on the way to them.

    atoms_of, structures_with  by atomic number: atoms, and structures that hold the element, shape (119,)
    sizes                      atoms of every structure
    compositions               distinct compositions
    """

    requested: int = 0
    generated: int = 0
    labelled: int = 0
    refused_by_labeller: int = 0
    kept: int = 0
    generate_seconds: float = 0.0
    label_seconds: float = 0.0
    rejected: Counter[str] = field(default_factory=Counter)
    makers: Counter[str] = field(default_factory=Counter)
    systems: Counter[str] = field(default_factory=Counter)
    notes: set[str] = field(default_factory=set)
    atoms_of: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_N_ELEMENTS, np.int64))
    structures_with: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_N_ELEMENTS, np.int64))
    sizes: list[int] = field(default_factory=list)
    compositions: set[bytes] = field(default_factory=set)


@dataclass
class Measures:
    """All sources, and per structure what the energy and force gates need, in plan order.

    energies        eV, shape (n,)
    counts          atoms of every element, shape (n, 119)
    largest_forces  eV/Å, shape (n,)
    contacts        shortest distance over sum of covalent radii, of a sample
    """

    sources: dict[str, SourceMeasures]
    energies: list[NDArray[np.float64]] = field(default_factory=list)
    counts: list[NDArray[np.uint16]] = field(default_factory=list)
    largest_forces: list[NDArray[np.float64]] = field(default_factory=list)
    contacts: list[float] = field(default_factory=list)


def measure_parts(parts: Iterable[tuple[Part, tuple[str, ...]]], sources: Iterable[str]) -> Measures:
    """Measure parts, each with the ids to leave out of it."""
    measures = Measures({name: SourceMeasures() for name in sources})
    for part, leave_out in parts:
        own = measures.sources[part.receipt.record.source]
        _count_losses(own, part.receipt)
        keep = ~np.isin(part.arrays["provenance/id"].astype(str), np.array(leave_out, dtype=str))
        if keep.any():
            _measure_structures(measures, own, select_structures(part.arrays, keep))
    return measures


def _count_losses(own: SourceMeasures, receipt: Receipt) -> None:
    record = receipt.record
    own.requested += record.requested
    own.generated += record.generated
    own.labelled += receipt.n_structures
    own.refused_by_labeller += len(receipt.rejected)
    own.generate_seconds += record.generate_seconds
    own.label_seconds += receipt.label_seconds
    for reason, count in record.service_rejected.items():
        own.rejected[f"generation: {reason}"] += count
    for reject in (*record.rejected, *receipt.rejected):
        own.rejected[f"{reject.stage}: {reject.reason}"] += 1
    if record.note:
        own.notes.add(record.note)


def _measure_structures(measures: Measures, own: SourceMeasures, arrays: Arrays) -> None:
    splits, numbers = arrays["structures/atomic_numbers_splits"], arrays["structures/atomic_numbers"]
    n_atoms = np.diff(splits)
    counts = np.zeros((len(n_atoms), _N_ELEMENTS), np.uint16)
    np.add.at(counts, (np.repeat(np.arange(len(n_atoms)), n_atoms), numbers), 1)
    own.kept += len(n_atoms)
    own.sizes += n_atoms.tolist()
    own.atoms_of += counts.sum(axis=0, dtype=np.int64)
    own.structures_with += (counts > 0).sum(axis=0)
    own.compositions |= {(row // np.gcd.reduce(row)).tobytes() for row in counts}
    own.makers.update(arrays["provenance/service"].tolist())
    own.systems.update(arrays["provenance/system"].tolist())
    measures.energies.append(arrays["labels/energy"])
    measures.counts.append(counts)
    forces = np.linalg.norm(arrays["labels/forces"].astype(np.float64), axis=1)
    measures.largest_forces.append(np.maximum.reduceat(forces, splits[:-1]))
    measures.contacts += [_shortest_contact(arrays, i) for i in _spread(len(n_atoms))]


def _spread(n: int) -> list[int]:
    return sorted({int(i) for i in np.linspace(0, n - 1, min(n, _CONTACT_SAMPLE))})


def _shortest_contact(arrays: Arrays, i: int) -> float:
    start, end = arrays["structures/atomic_numbers_splits"][i : i + 2]
    structure = Structure(
        id=arrays["provenance/id"][i],
        numbers=arrays["structures/atomic_numbers"][start:end].astype(np.uint8),
        positions=arrays["structures/positions"][start:end],
        cell=arrays["structures/cells"][i],
        pbc=tuple(bool(p) for p in arrays["structures/pbc"][i]),  # type: ignore[arg-type]
        system=arrays["provenance/system"][i],
    )
    pairs = find_pairs(structure, 4.0)
    if not pairs.distance.size:
        return float("inf")
    return float((pairs.distance / sum_of_radii(structure.numbers[pairs.i], structure.numbers[pairs.j])).min())


def entropy_bits(counts: NDArray[np.int64]) -> float:
    """Shannon entropy of a distribution given by counts, bits; 0 for none."""
    share = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(share * np.log2(share)).sum()) + 0.0


def entropy_ceiling(n_elements: int, hydrogen_share: float | None = None) -> float:
    """The largest entropy of n elements, bits; with hydrogen's share of the atoms given, the rest at best uniform."""
    if n_elements <= 1:
        return 0.0
    if hydrogen_share is None or not 0 < hydrogen_share < 1:
        return float(np.log2(n_elements))
    h = hydrogen_share
    return float(-h * np.log2(h) - (1 - h) * np.log2((1 - h) / (n_elements - 1)))


def energy_residuals(energies: NDArray[np.float64], counts: NDArray[np.uint16]) -> NDArray[np.float64]:
    """Energy per atom left over after a least-squares fit of one energy an element, eV/atom, shape (n,)."""
    present = counts[:, counts.any(axis=0)].astype(np.float64)
    n_atoms = present.sum(axis=1)
    fit, *_ = np.linalg.lstsq(present / n_atoms[:, None], energies / n_atoms, rcond=None)
    residuals: NDArray[np.float64] = energies / n_atoms - (present / n_atoms[:, None]) @ fit
    return residuals


def robust_z(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance from the median in units of 1.4826 times the median absolute deviation, shape (n,)."""
    deviation = np.abs(values - np.median(values))
    scale = 1.4826 * np.median(deviation)
    z: NDArray[np.float64] = deviation / scale if scale > 0 else np.where(deviation > 0, np.inf, 0.0)
    return z
