"""Merging parts, in plan order, into dataset.h5; its content depends on the order asked for alone."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from distillery.dataset.appending import Appender
from distillery.dataset.element_energies import FITTED, ISOLATED, fit_file
from distillery.dataset.folder import part_path, remove_unfinished_parts
from distillery.dataset.layout import (
    LAYOUT_VERSION,
    Arrays,
    Column,
    choose_columns,
    describe_columns,
    describe_units,
    iterate_texts,
    select_structures,
)
from distillery.dataset.parts import Part, corrupt, digest_arrays, read_part, read_receipt
from distillery.dataset.provenance import LeftOut, MergedPart, Summary, find_left_out, write_merged_parts
from distillery.dataset.sealed_file import find_broken_seal, name_disk_faults, write_atomically
from distillery.errors import Conflict, InvalidRequest, NotFound
from distillery.runtime.canonical_json import canonical_json
from distillery.runtime.workers import open_workers
from distillery.schema.base import CONTRACT_VERSION
from distillery.schema.label import FinaliseReceipt, FinaliseRequest, PartSelection, Receipt
from distillery.structures.identity import digest_structures

DATASET = "dataset.h5"
_LIBRARIES = ("h5py", "numpy", "ase")
_OF_A_PART, _OF_A_STRUCTURE = 16, 1 / 14
"""How long opening a part, and reading a structure of it, takes, measured in structures that are inspected."""


class ReceiptSummary(Summary):
    """What the receipts of all parts say before any part is read."""

    def __init__(self, folder: Path, request: FinaliseRequest) -> None:
        super().__init__()
        self.most_structures = self.most_atoms = 0
        self.receipts: list[Receipt] = []
        self.columns: dict[str, Column] = {}
        for selection in request.parts:
            receipt = read_receipt(_find_part(folder, request, selection))
            _refuse_stranger(folder, request, receipt)
            self.add(receipt, selection.leave_out)
            self.receipts.append(receipt)
            self.most_structures += receipt.n_structures
            self.most_atoms += receipt.n_atoms
        self.columns = choose_columns({name for receipt in self.receipts for name in receipt.optional_columns})

    def attributes(self, request: FinaliseRequest) -> dict[str, Any]:
        """The attributes of the file's `metadata` group that are known from receipts."""
        versions = {**self.describe_versions(), "contract": CONTRACT_VERSION, **{library: version(library) for library in _LIBRARIES}}
        return {
            "num_structures": self.n_structures,
            "teacher_model": self.teacher.name,
            "teacher_version": self.teacher.version,
            "weights_sha256": self.teacher.weights_sha256,
            "recipe": request.recipe,
            "recipe_sha256": request.recipe_sha256,
            "seed": request.seed,
            "checkpoints": request.checkpoints,
            "versions": canonical_json(versions),
            "units": describe_units(self.columns),
            "layout_version": LAYOUT_VERSION,
            ISOLATED: canonical_json(self.isolated_atoms),
            "parts_sha256": self.parts_sha256,
        }


def finalise(root: Path, request: FinaliseRequest) -> FinaliseReceipt:
    """Make dataset.h5 of a dataset; an equal one that lies there already stays as it is.

    NotFound: a part is missing. Conflict: a part of another recipe, or of another teacher. CorruptPart: a part does not
    agree with its digests. Parts are read on all cores; memory holds some four a core.
    """
    folder = root / request.dataset
    _refuse_repeated_parts(request)
    summary = ReceiptSummary(folder, request)
    path = folder / DATASET
    attributes = summary.attributes(request)
    with name_disk_faults(folder):
        if not _is_there_already(path, attributes):
            write_atomically(path, lambda file: _merge(file, folder, request, summary, attributes), replace=True)
        remove_unfinished_parts(folder)
        n_bytes = path.stat().st_size
    with h5py.File(path, "r") as file:
        found = file["metadata"].attrs
        return FinaliseReceipt(
            dataset=request.dataset,
            n_structures=int(found["num_structures"]),
            n_atoms=int(found["total_atoms"]),
            structures_sha256=found["structures_sha256"],
            n_bytes=n_bytes,
        )


def _refuse_repeated_parts(request: FinaliseRequest) -> None:
    if not request.parts:
        raise InvalidRequest(f"dataset {request.dataset} needs at least one part; got none")
    twice = sorted(part for part, n in Counter(selection.part for selection in request.parts).items() if n > 1)
    if twice:
        raise InvalidRequest(f"every part may be named once; named more often: {', '.join(twice)}")


def _find_part(folder: Path, request: FinaliseRequest, selection: PartSelection) -> Path:
    path = part_path(folder, selection.part)
    if not path.exists():
        raise NotFound(f"part {selection.part} of {request.dataset} is missing: there is no {path}; resume to make it")
    return path


def _refuse_stranger(folder: Path, request: FinaliseRequest, receipt: Receipt) -> None:
    found = receipt.record.recipe_sha256
    if found not in {request.recipe_sha256, *request.earlier_sha256}:
        raise Conflict(
            f"{part_path(folder, receipt.part)} belongs to another recipe: its recipe_sha256 is {found}, "
            f"that of this dataset {request.recipe_sha256}; move it away and resume"
        )


def _is_there_already(path: Path, attributes: dict[str, Any]) -> bool:
    """Whether the file holds exactly this already, undamaged."""
    if not path.exists():
        return False
    with path.open("rb") as content:
        if find_broken_seal(content) is not None:
            return False
    with h5py.File(path, "r") as file:
        found = dict(file["metadata"].attrs)
    return all(str(found.get(name)) == str(value) for name, value in attributes.items() if name != "versions")


def _merge(file: h5py.File, folder: Path, request: FinaliseRequest, summary: ReceiptSummary, attributes: dict[str, Any]) -> None:
    """Read every part once, whole and verified, and append what stays of it."""
    merger = _Merger(file, summary)
    work = int(_OF_A_PART * len(request.parts) + _OF_A_STRUCTURE * summary.most_structures)
    with open_workers(work, ahead=2) as each:
        for kept in each(partial(_read_kept, folder), zip(request.parts, summary.receipts, strict=True)):
            merger.add(kept)
    merger.finish(attributes)


@dataclass(frozen=True, eq=False)
class _Kept:
    """What stays of a part, and what of it does not."""

    arrays: Arrays
    merged: MergedPart


def _read_kept(folder: Path, own: tuple[PartSelection, Receipt]) -> _Kept:
    """A part read and verified, without the structures that are to be left out."""
    selection, receipt = own
    path = part_path(folder, selection.part)
    part = read_part(path)
    if part.receipt != receipt:
        raise corrupt(path, "its receipt changed while the parts were being merged")
    left_out = _find_left_out(part, selection)
    arrays, content_sha256 = part.arrays, receipt.content_sha256
    if left_out:
        keep = np.ones(receipt.n_structures, bool)
        keep[[one.row for one in left_out]] = False
        arrays = select_structures(arrays, keep)
        content_sha256 = digest_arrays(arrays)
    return _Kept(arrays, MergedPart(receipt=receipt, left_out=left_out, content_sha256=content_sha256))


class _Merger:
    """Appends parts to a file, with what was left out of each."""

    def __init__(self, file: h5py.File, summary: ReceiptSummary) -> None:
        self._file = file
        self._parts: list[MergedPart] = []
        self._columns = Appender(file, summary.most_structures, summary.most_atoms, summary.columns)

    def add(self, kept: _Kept) -> None:
        """Append the structures that stay."""
        self._columns.append(kept.arrays)
        self._parts.append(kept.merged)

    def finish(self, attributes: dict[str, Any]) -> None:
        """Cut the columns, describe everything."""
        file = self._file
        self._columns.cut()
        describe_columns(file)
        write_merged_parts(file, self._parts)
        ids, hashes = (iterate_texts(file, f"provenance/{name}") for name in ("id", "structure_hash"))
        metadata = file.create_group("metadata")
        for name, value in attributes.items():
            metadata.attrs[name] = value
        metadata.attrs[FITTED] = canonical_json(fit_file(file))
        metadata.attrs["total_atoms"] = self._columns.n_atoms
        metadata.attrs["structures_sha256"] = digest_structures(ids, hashes)
        metadata.attrs["creation_time"] = datetime.now(UTC).isoformat(timespec="seconds")


def _find_left_out(part: Part, selection: PartSelection) -> tuple[LeftOut, ...]:
    found = find_left_out(part.arrays, selection.leave_out, selection.outliers)
    unknown = sorted(set(selection.leave_out) - {one.id for one in found})
    if unknown:
        raise InvalidRequest(f"leave_out of part {selection.part} names structures it does not hold: {', '.join(unknown[:3])}")
    return found
