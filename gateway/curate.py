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


def curate(structures: Iterable[Structure], elements: Sequence[str], atoms: tuple[int, int] | None) -> Curated:
    """Check structures; duplicates within the batch, copies with noise among them, are refused too."""
    curated, seen, near_duplicates = Curated(), dict[str, str](), NearDuplicates()
    for structure in map(restate, structures):
        neighbours = Neighbours(structure, HASH_CUTOFF)
        fault = find_fault(structure, elements, atoms, neighbours)
        if fault is None:
            fault = _admit(structure, neighbours, curated, seen, near_duplicates)
        if fault is not None:
            curated.rejected.append(Reject(id=structure.id, reason=fault.reason, detail=fault.detail, stage="curation"))
    return curated


def _admit(
    structure: Structure, neighbours: Neighbours, curated: Curated, seen: dict[str, str], near_duplicates: NearDuplicates
) -> Fault | None:
    """Keep a sound structure, or say which earlier one of the batch it repeats."""
    own, fingerprint = structure_hash(structure, neighbours), make_fingerprint(structure, neighbours)
    if own in seen:
        return Fault("duplicate", f"its structure hash {own} came before in this shard, of {seen[own]}")
    if (twin := near_duplicates.find(fingerprint)) is not None:
        return Fault(
            "duplicate",
            f"{curated.kept[twin[0]].id} of this shard with noise: displacements of {twin[1]:.4f} Å would make one of the other",
        )
    seen[own] = structure.id
    near_duplicates.add(fingerprint)
    curated.kept.append(structure)
    curated.hashes.append(own)
    curated.fingerprints[find_place(structure.id)] = fingerprint.as_text()
    return None
