"""Checks of the structures and labels of a part in a dataset.h5; pure, so that worker processes can do them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from distillery.dataset.layout import HESSIAN_SPLITS, OPTIONAL_COLUMNS, Arrays, list_optional
from distillery.dataset.parts import digest_arrays
from distillery.dataset.sections import Range, find_nonsense, make_structures, read_section
from distillery.structures.checks import find_fault
from distillery.structures.identity import structure_hash
from distillery.structures.structure import System

Faults = list[tuple[str, str]]
"""(check, what is wrong and where)"""
CHECKS = ("finite", "stresses", "ids", "digests", "provenance", "chemistry", "hashes")
UNREADABLE = (OSError, RuntimeError, ValueError, LookupError, TypeError, MemoryError)
"""What h5py raises at damaged content, and what nonsense in it leads to."""


@dataclass(frozen=True)
class Expected:
    """A part's rows in the file, and what they should hold.

    elements, atoms  what its source may use, and its smallest and largest number of atoms
    content_sha256   of all columns (`distillery.dataset.parts.digest_arrays`)
    optional_columns  that the part had
    """

    part: str
    structures: Range
    atom_rows: Range
    source: str
    service: str
    system: System
    elements: tuple[str, ...]
    atoms: tuple[int, int] | None
    content_sha256: str
    optional_columns: tuple[str, ...] = ()


def inspect_part(path: Path, expected: Expected) -> Faults:
    """Everything that is wrong with a part's rows."""
    try:
        with h5py.File(path, "r") as file:
            arrays = read_section(file, expected.structures, expected.atom_rows, list_optional(file))
    except UNREADABLE as error:
        return [(check, f"{expected.part} can't be read: {error}") for check in CHECKS]
    return [(check, f"{expected.part}{where}") for check, find in _FINDERS.items() for where in find(arrays, expected)]


def _find_infinite(arrays: Arrays, expected: Expected) -> Iterator[str]:
    wanted = [name for name in expected.optional_columns if name in arrays]
    for name in ("structures/positions", "structures/cells", "labels/energy", "labels/forces", "labels/stress", *wanted):
        if not np.isfinite(arrays[name]).all():
            yield f": {name} holds NaN or infinity"


def _find_wrong_stresses(arrays: Arrays, expected: Expected) -> Iterator[str]:
    """Only periodic structures have a stress, all or none of them; the others have zeros."""
    mask, periodic = arrays["labels/stress_mask"], arrays["structures/pbc"].any(axis=1)
    if (mask & ~periodic).any():
        yield f"/{int(np.flatnonzero(mask & ~periodic)[0]):04d}: a stress, yet not periodic"
    if mask.any() and (periodic & ~mask).any():
        yield f"/{int(np.flatnonzero(periodic & ~mask)[0]):04d}: periodic, yet its stress is masked"
    if arrays["labels/stress"][~mask].any():
        yield ": a stress that is masked and not zero"


def _find_strange_ids(arrays: Arrays, expected: Expected) -> Iterator[str]:
    strange = [id for id in arrays["provenance/id"] if not id.startswith(f"{expected.part}/")]
    if strange:
        yield f": the id {strange[0]!r}"


def _find_changed_content(arrays: Arrays, expected: Expected) -> Iterator[str]:
    """Columns that the part itself did not have say nothing of its rows."""
    added = set(list_optional(arrays)) - set(expected.optional_columns)
    for name in sorted(added - {HESSIAN_SPLITS}):
        if not np.array_equal(arrays[name], np.full_like(arrays[name], OPTIONAL_COLUMNS[name].absent), equal_nan=True):
            yield f": {name} has values, and its receipt knows of none"
    if digest_arrays({name: values for name, values in arrays.items() if name not in added}) != expected.content_sha256:
        yield ": its structures or labels differ from their digest"


def _find_wrong_provenance(arrays: Arrays, expected: Expected) -> Iterator[str]:
    wanted = {"source": expected.source, "service": expected.service, "system": expected.system, "shard": expected.part}
    for name, value in wanted.items():
        found = set(arrays[f"provenance/{name}"]) - {value}
        if found:
            yield f": {name} {sorted(found)[0]!r}, not {value!r}"


def _find_unsound(arrays: Arrays, expected: Expected) -> Iterator[str]:
    for structure in make_structures(arrays):
        fault = find_fault(structure, expected.elements, expected.atoms)
        if fault is not None:
            yield f" ({structure.id}): {fault.reason}, {fault.detail}"


def _find_wrong_hashes(arrays: Arrays, expected: Expected) -> Iterator[str]:
    if (nonsense := find_nonsense(arrays)) is not None:
        yield f": {nonsense}"
        return
    for structure, stored in zip(make_structures(arrays), arrays["provenance/structure_hash"], strict=True):
        own = structure_hash(structure)
        if own != stored:
            yield f" ({structure.id}): its structure hash is {own}, the file says {stored}"


def _guarded(find: Callable[[Arrays, Expected], Iterator[str]]) -> Callable[[Arrays, Expected], Iterator[str]]:
    def guarded(arrays: Arrays, expected: Expected) -> Iterator[str]:
        try:
            yield from find(arrays, expected)
        except UNREADABLE as error:
            yield f" can't be checked: {error}"

    return guarded


_FINDERS = {
    check: _guarded(find)
    for check, find in {
        "finite": _find_infinite,
        "stresses": _find_wrong_stresses,
        "ids": _find_strange_ids,
        "digests": _find_changed_content,
        "provenance": _find_wrong_provenance,
        "chemistry": _find_unsound,
        "hashes": _find_wrong_hashes,
    }.items()
}
