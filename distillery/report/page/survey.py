"""The survey: what the page shows of the structures, gathered from one part after another."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase.units import GPa
from numpy.typing import NDArray

from distillery.dataset.layout import STATE, Arrays, select_structures
from distillery.dataset.parts import Part
from distillery.report.page.sampling import Sample, SampledStructure, draw_keys
from distillery.report.page.split_sizes import Sides
from distillery.schema.label import ShardRecord, TeacherCard
from distillery.structures.electrons import find_multiplicities

SAMPLE_SIZE = 200
"""Structures drawn from every source that bond lengths and structural diversity are measured on."""
FORCE_EDGES = np.linspace(-3.0, 3.0, 61)
"""Of the bins that forces are counted in, log10 of eV/Å."""


@dataclass(frozen=True)
class Maker:
    """A service as it made some of a source's structures; two parts made alike have equal ones."""

    service: str
    version: str
    weights_sha256: str
    licence: str
    versions: tuple[tuple[str, str], ...]


@dataclass
class SourceSurvey:
    """One source.

    sample        of its structures: those that are measured, and more if the page carries more
    force_counts  atoms by size of their force, shape (60,); what lies outside is counted at the edge
    makers        who made its structures, in order of appearance
    """

    sample: Sample = field(default_factory=lambda: Sample(SAMPLE_SIZE))
    force_counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(FORCE_EDGES) - 1, np.int64))
    makers: dict[Maker, None] = field(default_factory=dict)

    @property
    def measured(self) -> list[SampledStructure]:
        """The structures that bond lengths and structural diversity are measured on, whatever number the page carries."""
        return self.sample.drawn[:SAMPLE_SIZE]


@dataclass
class Survey:
    """All parts. Every list holds one array a part, in plan order.

    source, n_atoms  number of the source, number of atoms
    energy           eV/atom
    largest_force    eV/Å
    pressure, shear  minus a third of the trace, and von Mises' equivalent of the stress, GPa; NaN where there is no stress
    is_slab          whether it is a surface, whose stress is that of slab and vacuum together
    charge, spin     total charge, e, and spin multiplicity; `has_states` if the dataset has columns of them
    ids              of the structures
    n_carried        structures that the page is to carry, drawn at random
    parts            their parts' names; `n_parts` counts those without structures too
    sides            of the split that is made where nothing else is said
    benchmarks       structures taken from a public benchmark, by its name
    """

    names: list[str]
    seed: int
    n_carried: int = SAMPLE_SIZE
    sources: dict[str, SourceSurvey] = field(default_factory=dict)
    source: list[NDArray[np.int16]] = field(default_factory=list)
    n_atoms: list[NDArray[np.int32]] = field(default_factory=list)
    energy: list[NDArray[np.float64]] = field(default_factory=list)
    largest_force: list[NDArray[np.float32]] = field(default_factory=list)
    pressure: list[NDArray[np.float32]] = field(default_factory=list)
    shear: list[NDArray[np.float32]] = field(default_factory=list)
    is_slab: list[NDArray[np.bool_]] = field(default_factory=list)
    charge: list[NDArray[np.int64]] = field(default_factory=list)
    spin: list[NDArray[np.int64]] = field(default_factory=list)
    ids: list[NDArray[Any]] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    sides: Sides = field(default_factory=Sides)
    benchmarks: Counter[str] = field(default_factory=Counter)
    teachers: dict[str, TeacherCard] = field(default_factory=dict)
    n_parts: int = 0
    has_states: bool = False
    first_made: str = ""
    last_made: str = ""

    def __post_init__(self) -> None:
        self.sources = {name: SourceSurvey(Sample(max(SAMPLE_SIZE, self.n_carried))) for name in self.names}

    def add(self, part: Part, kept: Sequence[int]) -> None:
        """Look at a part, of which the structures with these indices count."""
        self._note_makers(part)
        if kept:
            keep = np.zeros(part.receipt.n_structures, bool)
            keep[list(kept)] = True
            self.add_structures(select_structures(part.arrays, keep), part.receipt.part, part.receipt.record.source)

    def join(self, name: str) -> NDArray[Any]:
        """One of the per-structure lists as one array, shape (n_structures,)."""
        lists: list[NDArray[Any]] = getattr(self, name)
        return np.concatenate(lists) if lists else np.zeros(0)

    def split_slabs(self, name: str) -> tuple[NDArray[Any], NDArray[Any]]:
        """One of the lists for bulk and for slabs, NaN where it is of the others; shape (n_structures,) each."""
        values, is_slab = self.join(name), self.join("is_slab").astype(bool)
        return np.where(is_slab, np.nan, values), np.where(is_slab, values, np.nan)

    def _note_makers(self, part: Part) -> None:
        receipt, record = part.receipt, part.receipt.record
        self.n_parts += 1
        self.teachers.setdefault(receipt.teacher.model_dump_json(), receipt.teacher)
        if record.generated:
            self.sources[record.source].makers[_find_maker(record)] = None
        self.first_made = min(self.first_made or receipt.created, receipt.created)
        self.last_made = max(self.last_made, receipt.created)

    def add_structures(self, arrays: Arrays, part: str, name: str) -> None:
        """Look at structures of one part and one source; there is one at least."""
        splits = arrays["structures/atomic_numbers_splits"]
        n_atoms, own = np.diff(splits), self.sources[name]
        forces = np.linalg.norm(arrays["labels/forces"].astype(np.float64), axis=1)
        own.force_counts += _count_forces(forces)
        own.sample.offer(arrays, draw_keys(self.seed, part, len(n_atoms)))
        pressure, shear = _describe_stress(arrays)
        self.parts.append(part)
        self.source.append(np.full(len(n_atoms), self.names.index(name), np.int16))
        self.n_atoms.append(n_atoms.astype(np.int32))
        self.energy.append(arrays["labels/energy"] / n_atoms)
        self.largest_force.append(np.maximum.reduceat(forces, splits[:-1]).astype(np.float32))
        self.pressure.append(pressure)
        self.shear.append(shear)
        self.is_slab.append(arrays["provenance/system"] == "surface")
        charge, spin = _describe_state(arrays)
        self.charge.append(charge)
        self.spin.append(spin)
        self.has_states |= STATE[0] in arrays
        self.ids.append(arrays["provenance/id"])
        self.sides.add(name, arrays)
        self.benchmarks.update(_find_benchmarks(arrays["provenance/origin"]))


def _find_maker(record: ShardRecord) -> Maker:
    versions = tuple(sorted(record.service_versions.items()))
    return Maker(record.service, record.service_version, record.service_weights_sha256 or "", record.service_licence, versions)


def _count_forces(forces: NDArray[np.float64]) -> NDArray[np.int64]:
    sizes = np.log10(np.maximum(forces, 1e-12))
    counts: NDArray[np.int64] = np.histogram(np.clip(sizes, FORCE_EDGES[0], FORCE_EDGES[-1]), FORCE_EDGES)[0]
    return counts


def _describe_stress(arrays: Arrays) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    xx, yy, zz, yz, xz, xy = (arrays["labels/stress"] / GPa).T
    squares = ((xx - yy) ** 2 + (yy - zz) ** 2 + (zz - xx) ** 2) / 2 + 3 * (yz**2 + xz**2 + xy**2)
    has_stress = arrays["labels/stress_mask"]
    pressure, shear = (np.where(has_stress, v, np.nan).astype(np.float32) for v in (-(xx + yy + zz) / 3, np.sqrt(squares)))
    return pressure, shear


def _describe_state(arrays: Arrays) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    splits = arrays["structures/atomic_numbers_splits"]
    charge, given = (arrays.get(name, np.zeros(len(splits) - 1)).astype(np.int64) for name in STATE)
    return charge, find_multiplicities(arrays["structures/atomic_numbers"], splits, charge, given)


def _find_benchmarks(origins: NDArray[Any]) -> Counter[str]:
    marked = (json.loads(text) for text in origins.tolist() if '"benchmark"' in text)
    return Counter(str(origin["benchmark"]) for origin in marked if "benchmark" in origin)
