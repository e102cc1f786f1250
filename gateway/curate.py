"""Curation: every structure is checked before it is labelled; what is refused is recorded with its reason."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from distillery.schema.label import Reject
from distillery.structures.cells import restate
from distillery.structures.checks import Fault, find_fault
from distillery.structures.geometry import Neighbours
from distillery.structures.identity import HASH_CUTOFF, find_place, structure_hash
from distillery.structures.near_duplicates import NearDuplicates, make_fingerprint
from distillery.structures.structure import Structure


@dataclass(frozen=True)
class Curated:
    """The structures worth a label, with what they are known by, and why the others are not.

    hashes        structure hashes of those kept, in order
    fingerprints  by which copies with noise are found, as text, by the last part of the id
    """

    kept: list[Structure] = field(default_factory=list)
    rejected: list[Reject] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)
    fingerprints: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Earlier:
    """The structures of the batch so far: their ids by hash, and by what near duplicates are found by."""

    by_hash: dict[str, str] = field(default_factory=dict)
    by_place: dict[int, str] = field(default_factory=dict)
    near_duplicates: NearDuplicates = field(default_factory=NearDuplicates)


def curate(structures: Iterable[Structure], elements: Sequence[str], atoms: tuple[int, int] | None) -> Curated:
    """Check structures; duplicates within the batch, copies with noise among them, are refused too."""
    curated, earlier = Curated(), _Earlier()
    for structure in map(restate, structures):
        neighbours = Neighbours(structure, HASH_CUTOFF)
        fault = find_fault(structure, elements, atoms, neighbours)
        if fault is None:
            fault = _admit(structure, neighbours, curated, earlier)
        if fault is not None:
            curated.rejected.append(Reject(id=structure.id, reason=fault.reason, detail=fault.detail, stage="curation"))
    return curated


def _admit(structure: Structure, neighbours: Neighbours, curated: Curated, earlier: _Earlier) -> Fault | None:
    """Keep a sound structure, or say which earlier one of the batch it repeats."""
    own, fingerprint = structure_hash(structure, neighbours), make_fingerprint(structure, neighbours)
    if own in earlier.by_hash:
        return Fault("duplicate", f"its structure hash {own} came before in this shard, of {earlier.by_hash[own]}")
    if (twin := earlier.near_duplicates.find(fingerprint)) is not None:
        return Fault(
            "duplicate",
            f"{earlier.by_place[twin[0]]} of this shard with noise: displacements of {twin[1]:.4f} Å would make one of the other",
        )
    earlier.by_hash[own] = structure.id
    earlier.by_place[earlier.near_duplicates.add(fingerprint)] = structure.id
    curated.kept.append(structure)
    curated.hashes.append(own)
    curated.fingerprints[find_place(structure.id)] = fingerprint.as_text()
    return None
