"""Writing a dataset of structures of others: column by column in blocks, memory for one block; the same inputs give the same bytes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from distillery.dataset.appending import Appender
from distillery.dataset.blocks import cut_blocks
from distillery.dataset.derivation import DERIVATION, TEACHER, Derivation, Piece, write_pieces
from distillery.dataset.element_energies import FITTED, ISOLATED, fit_file
from distillery.dataset.layout import (
    ATOMIC_ENERGIES,
    HESSIAN_SPLITS,
    HESSIANS,
    LAYOUT_VERSION,
    STATE,
    Arrays,
    choose_columns,
    describe_columns,
    describe_units,
    iterate_texts,
    list_optional,
    open_dataset,
    select_structures,
)
from distillery.dataset.makers import Maker
from distillery.dataset.parts import digest_arrays
from distillery.dataset.sealed_file import name_disk_faults, write_atomically
from distillery.dataset.sections import read_section
from distillery.dataset.splits import JOINED
from distillery.derive.inputs import Input, read_json
from distillery.errors import InvalidRequest
from distillery.runtime.canonical_json import canonical_json
from distillery.structures.identity import digest_structures

_LIBRARIES = ("distillery", "h5py", "numpy", "ase")
_SAME_OF_ALL = ("shard", "source", "service", "system")


@dataclass(frozen=True, eq=False)
class Taken:
    """The rows of an input that go into the new dataset, ascending.

    prefix  put before ids and shards, so that those of several inputs differ; "" leaves them as they are
    """

    given: Input
    rows: NDArray[np.int64]
    prefix: str = ""


@dataclass(frozen=True)
class Asked:
    """What was asked for, as the derivation keeps it.

    joined     of parents the one that they go by
    left_out   structures that were not taken, by reason
    libraries  packages that decide what is taken, beside those that write
    """

    command: str
    arguments: tuple[str, ...] = ()
    joined: Mapping[str, str] | None = None
    left_out: Mapping[str, int] | None = None
    libraries: tuple[str, ...] = ()


def write_derived(target: Path, taken: Sequence[Taken], asked: Asked) -> int:
    """Write the dataset; how many structures it has. InvalidRequest if that is none, Unavailable if the disk is full.

    target  as `require_target` gives it
    """
    n = sum(len(one.rows) for one in taken)
    if n == 0:
        raise InvalidRequest("no structure is left: there would be nothing in the dataset; ask for less")
    with name_disk_faults(target.parent):
        write_atomically(target, lambda file: _fill(file, taken, asked), replace=True)
    return n


def _fill(file: h5py.File, taken: Sequence[Taken], asked: Asked) -> None:
    n_structures, n_atoms = (sum(sizes) for sizes in zip(*((len(one.rows), _count_atoms(one)) for one in taken), strict=True))
    layout = choose_columns({name for one in taken for name in one.given.optional_columns})
    columns, pieces = Appender(file, n_structures, n_atoms, layout), list[Piece]()
    present = np.zeros(len(chemical_symbols), bool)
    for one in taken:
        for arrays in map(_drop_absent, _read(one)):
            columns.append(arrays)
            pieces.append(_describe_piece(arrays, one))
            present[arrays["structures/atomic_numbers"]] = True
    columns.cut()
    describe_columns(file)
    write_pieces(file, pieces)
    derivation = Derivation(
        command=asked.command,
        arguments=asked.arguments,
        inputs=tuple(one.given.record(len(one.rows)) for one in taken),
        left_out=dict(asked.left_out or {}),
        elements=tuple(chemical_symbols[z] for z in np.flatnonzero(present)),
        versions={name: version(name) for name in (*_LIBRARIES, *asked.libraries)},
    )
    _write_metadata(file, taken, derivation, asked.joined or {})


def _count_atoms(one: Taken) -> int:
    return int(one.given.n_atoms[one.rows].sum())


def _read(one: Taken) -> Iterator[Arrays]:
    """The structures, those that follow one another and are of one shard, source, service and system at a time."""
    n_atoms = one.given.n_atoms
    is_taken = np.zeros(len(n_atoms), bool)
    is_taken[one.rows] = True
    splits = np.concatenate([[0], np.cumsum(n_atoms)])
    with open_dataset(one.given.path) as file:
        for block in cut_blocks(np.arange(len(n_atoms)), n_atoms):
            start, stop = int(block[0]), int(block[-1]) + 1
            if is_taken[start:stop].any():
                arrays = read_section(file, (start, stop), (int(splits[start]), int(splits[stop])), one.given.optional_columns)
                yield from _divide(_prefix(select_structures(arrays, is_taken[start:stop]), one.prefix))


def _prefix(arrays: Arrays, prefix: str) -> Arrays:
    if prefix:
        for name in ("provenance/id", "provenance/shard"):
            arrays[name] = np.array([f"{prefix}{text}" for text in arrays[name].tolist()], dtype=object)
    return arrays


def _divide(arrays: Arrays) -> Iterator[Arrays]:
    """Cut where shard, source, service or system change."""
    changes = np.zeros(len(arrays["labels/energy"]), bool)
    for name in _SAME_OF_ALL:
        texts = arrays[f"provenance/{name}"]
        changes[1:] |= texts[1:] != texts[:-1]
    number = np.cumsum(changes)
    for k in range(int(number[-1]) + 1):
        yield select_structures(arrays, number == k) if number[-1] else arrays


def _drop_absent(arrays: Arrays) -> Arrays:
    """Without the optional columns of which these structures have nothing: the file has them for others."""
    empty = [
        *(STATE if not any(arrays[name].any() for name in STATE if name in arrays) else ()),
        *((HESSIANS, HESSIAN_SPLITS) if not len(arrays.get(HESSIANS, ())) else ()),
        *((ATOMIC_ENERGIES,) if np.isnan(arrays.get(ATOMIC_ENERGIES, np.nan)).all() else ()),
    ]
    return {name: array for name, array in arrays.items() if name not in empty}


def _describe_piece(arrays: Arrays, one: Taken) -> Piece:
    shard = str(arrays["provenance/shard"][0])
    maker = one.given.makers.get(shard.removeprefix(one.prefix), Maker())
    return Piece(
        **{name: arrays[f"provenance/{name}"][0] for name in _SAME_OF_ALL},
        licence=maker.licence,
        versions=dict(maker.versions),
        n_structures=len(arrays["labels/energy"]),
        n_atoms=len(arrays["structures/atomic_numbers"]),
        optional_columns=list_optional(arrays),
        content_sha256=digest_arrays(arrays),
    )


def _write_metadata(file: h5py.File, taken: Sequence[Taken], derivation: Derivation, joined: Mapping[str, str]) -> None:
    first = taken[0].given
    ids, hashes = (iterate_texts(file, f"provenance/{name}") for name in ("id", "structure_hash"))
    attributes: dict[str, Any] = {
        "num_structures": len(file["labels/energy"]),
        "total_atoms": len(file["structures/atomic_numbers"]),
        **{name: first.attributes[name] for name in ("teacher_model", "weights_sha256") if name in first.attributes},
        "teacher_version": " ".join(sorted({str(one.given.attributes.get("teacher_version", "not recorded")) for one in taken})),
        "units": describe_units(choose_columns(file)),
        "layout_version": LAYOUT_VERSION,
        "versions": canonical_json(_join_versions([one.given for one in taken])),
        ISOLATED: canonical_json({k: v for one in reversed(taken) for k, v in read_json(one.given.attributes, ISOLATED).items()}),
        FITTED: canonical_json(fit_file(file)),
        "structures_sha256": digest_structures(ids, hashes),
        DERIVATION: canonical_json(derivation.model_dump(mode="json")),
    }
    if known := [str(one.given.attributes["creation_time"]) for one in taken if "creation_time" in one.given.attributes]:
        attributes["creation_time"] = max(known)
    if joined:
        attributes[JOINED] = canonical_json(dict(joined))
    if (card := first.teacher_card) is not None:
        attributes[TEACHER] = card.model_dump_json()
    file.create_group("metadata").attrs.update(attributes)


def _join_versions(inputs: Sequence[Input]) -> dict[str, str]:
    """Every version that made an input, by what it is of."""
    found: dict[str, set[str]] = {}
    for one in inputs:
        for what, own in read_json(one.attributes, "versions").items():
            found.setdefault(what, set()).add(str(own))
    return {what: " ".join(sorted(own)) for what, own in sorted(found.items())}


def name_differently(inputs: Sequence[Input]) -> list[str]:
    """A name for each that no other has: its own, or with a number behind it."""
    names: list[str] = []
    for one in inputs:
        name, k = one.name, 1
        while name in names:
            k += 1
            name = f"{one.name}-{k}"
        names.append(name)
    return names
