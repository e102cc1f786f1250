"""The shape of a dataset.h5: its bytes, names, dtypes, units and splits, checked before its content; figures made anew."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from distillery.dataset.derivation import PIECES, is_derived
from distillery.dataset.element_energies import FITTED, fit_file
from distillery.dataset.layout import ALL_COLUMNS, COLUMNS, HESSIAN_SPLITS, HESSIANS, STATE, TEXT, Column, choose_columns, find_hollow
from distillery.dataset.provenance import MERGED_PARTS
from distillery.dataset.sealed_file import find_broken_seal
from distillery.errors import InvalidRequest
from distillery.verify.structure_checks import UNREADABLE

FAULTS_SHOWN = 3
_RELATIVE = 1e-6
"""Figures recomputed on another machine may differ by rounding."""


@dataclass(frozen=True)
class Check:
    """One line of a verification.

    passed  None for a note that is no finding
    figure  what was checked, or how much of it is wrong
    faults  the first things that are wrong
    """

    name: str
    passed: bool | None
    figure: str
    faults: tuple[str, ...] = ()


def conclude(name: str, figure: str, faults: list[str]) -> Check:
    """A passed check with its figure, or a failed one with its first faults."""
    if not faults:
        return Check(name, True, figure)
    return Check(name, False, f"{len(faults)} wrong" if len(faults) > 1 else "wrong", tuple(faults[:FAULTS_SHOWN]))


def attempt(name: str, figure: Callable[[], str], find: Callable[[], Iterator[str]]) -> Check:
    """A check by what `find` finds; that something can't be read is a finding too."""
    faults: list[str] = []
    try:
        faults.extend(find())
        return conclude(name, figure(), faults)
    except UNREADABLE as error:
        return conclude(name, "", [*faults, f"can't be read: {type(error).__name__}: {error}"])


def check_bytes(path: Path) -> Check:
    """The sha256 over all bytes; InvalidRequest if there is no such file to read."""
    try:
        with path.open("rb") as content:
            fault = find_broken_seal(content)
    except OSError as error:
        raise InvalidRequest(f"{path} can't be read: {error.strerror}") from error
    return conclude("bytes", f"the sha256 of all {path.stat().st_size:,} bytes is that of the seal", [fault] if fault else [])


def check_layout(file: h5py.File) -> Check:
    """Names, dtypes, shapes, units and meanings as `distillery.dataset.layout.COLUMNS` says, readable without plugins."""
    figure = "{} columns with their dtypes, shapes and units"
    return attempt("layout", lambda: figure.format(len(choose_columns(file))), lambda: _find_layout_faults(file))


def _find_layout_faults(file: h5py.File) -> Iterator[str]:
    if (hollow := find_hollow(file, ALL_COLUMNS)) is not None:
        yield hollow
    if "metadata" not in file:
        yield "there is no group metadata"
    found: set[str] = set()
    file.visititems(lambda name, item: found.add(name) if isinstance(item, h5py.Dataset) else None)
    origin = PIECES if is_derived(file) else MERGED_PARTS
    yield from (f"{name} does not belong there" for name in sorted(found - {*ALL_COLUMNS, origin}))
    pairs = ((HESSIANS, HESSIAN_SPLITS), STATE)
    needed = {*COLUMNS, origin, *(name for pair in pairs if found & {*pair} for name in pair)}
    yield from (f"there is no {name}" for name in sorted(needed - found))
    n_rows = {
        "structure": _count_rows(file, "labels/energy"),
        "atom": _count_rows(file, "structures/atomic_numbers"),
        "split": _count_rows(file, "labels/energy") + 1,
        "entry_split": _count_rows(file, "labels/energy") + 1,
        "entry": _count_rows(file, HESSIANS),
    }
    for name in found & set(ALL_COLUMNS):
        yield from (f"{name} {fault}" for fault in _find_column_faults(file[name], ALL_COLUMNS[name], n_rows))


def _count_rows(file: h5py.File, name: str) -> int:
    return len(file[name]) if name in file else 0


def _find_column_faults(data: h5py.Dataset, column: Column, n_rows: dict[str, int]) -> Iterator[str]:
    if column.dtype is TEXT:
        text = h5py.check_string_dtype(data.dtype)
        if text is None or text.encoding != "utf-8" or text.length is not None:
            yield f"is {data.dtype}, not text"
    elif data.dtype != np.dtype(column.dtype):
        yield f"is {data.dtype}, not {np.dtype(column.dtype)}"
    shape = (n_rows[column.rows], *column.shape)
    if data.shape != shape:
        yield f"has the shape {data.shape}, not {shape}"
    if data.compression not in (None, "gzip"):
        yield f"is compressed with {data.compression}: only gzip opens everywhere"
    wanted = {key: value for key, value in (("unit", column.unit), ("meaning", column.meaning)) if value}
    if (attributes := dict(data.attrs)) != wanted:
        yield f"has the attributes {attributes}, not {wanted}"


def check_splits(file: h5py.File) -> Check:
    """Every structure has its own rows, in order and without a gap."""

    def count() -> tuple[int, int]:
        return _count_rows(file, "labels/energy"), _count_rows(file, "structures/atomic_numbers")

    return attempt("splits", lambda: "{:,} structures, {:,} atoms".format(*count()), lambda: _find_split_faults(file, *count()))


def _find_split_faults(file: h5py.File, n: int, n_atoms: int) -> Iterator[str]:
    splits = file["structures/atomic_numbers_splits"][:]
    if splits[0] != 0 or splits[-1] != n_atoms:
        yield f"they go from {splits[0]} to {splits[-1]}, not from 0 to {n_atoms}"
    if (short := np.flatnonzero(np.diff(splits) < 1)).size:
        yield f"structure {short[0]} has {np.diff(splits)[short[0]]} atoms"
    if not np.array_equal(splits, file["labels/forces_splits"][:]):
        yield "forces_splits differ from atomic_numbers_splits"
    if HESSIAN_SPLITS in file:
        yield from _find_entry_faults(file[HESSIAN_SPLITS][:], len(file[HESSIANS]), np.diff(splits))
    if not np.array_equal(file["labels/structure_indices"][:], np.arange(n)):
        yield "structure_indices do not count 0, 1, 2, …"


def _find_entry_faults(splits: NDArray[np.int64], n_entries: int, n_atoms: NDArray[np.int64]) -> Iterator[str]:
    """A Hessian has as many entries as 3 n times 3 n, or there is none."""
    found = np.diff(splits)
    if splits[0] != 0 or splits[-1] != n_entries or ((found != 0) & (found != 9 * n_atoms**2)).any():
        yield f"{HESSIAN_SPLITS} do not part the {n_entries} entries into Hessians of their structures"


def find_repeated(file: h5py.File, name: str) -> Iterator[str]:
    """How often an id or structure hash came before, or that they can't be read."""
    try:
        texts = file[f"provenance/{name}"].asstr()[:]
    except UNREADABLE as error:
        yield f"provenance/{name} can't be read: {error}"
        return
    if (n_twice := len(texts) - len(set(texts))) > 0:
        yield f"{n_twice} of {len(texts)} came before"


def check_fitted_energies(file: h5py.File) -> Check:
    """The energies of the elements are what a fit of the energies gives."""

    def find() -> Iterator[str]:
        yield from find_differences(fit_file(file), json.loads(file["metadata"].attrs[FITTED]), FITTED)

    return attempt("fitted energies", lambda: "one energy an element, recomputed from the structures' energies", find)


def find_differences(own: Any, found: Any, where: str) -> Iterator[str]:
    """Where two JSON values differ, numbers by more than rounding; what only `found` has is no concern of this file."""
    if isinstance(own, dict) and isinstance(found, dict):
        for key, value in own.items():
            yield from find_differences(value, found.get(key), f"{where}.{key}".lstrip("."))
    elif isinstance(own, list) and isinstance(found, list) and len(own) == len(found):
        for k, (a, b) in enumerate(zip(own, found, strict=True)):
            yield from find_differences(a, b, f"{where}[{k}]")
    elif not _is_same(own, found):
        yield f"{where} is {found}, recomputed {own}"


def _is_same(own: Any, found: Any) -> bool:
    if isinstance(own, bool) or isinstance(found, bool):
        return own is found
    if isinstance(own, int | float) and isinstance(found, int | float):
        return abs(own - found) <= _RELATIVE * max(abs(own), abs(found))
    return bool(own == found)
