"""Provenance: what dataset.h5 keeps of its parts, so that it can be checked and made again without them."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping

import h5py
import numpy as np
from pydantic import ValidationError

from distillery.dataset.layout import Arrays
from distillery.errors import Conflict
from distillery.runtime.canonical_json import canonical_json
from distillery.schema.base import Count, Message, Sha256
from distillery.schema.label import Receipt, TeacherCard

MERGED_PARTS = "provenance/parts"
"""The dataset of dataset.h5 with one row a part, in order: JSON of `MergedPart`, gzip."""
_ROWS_A_CHUNK = 16


class LeftOut(Message):
    """A labelled structure that is not in the dataset: it came before, its source had enough, or its energy is far off.

    row            its index in the part
    outlier_since  the round of the plan in which its energy proved to be far off
    origin         how it was made, JSON, where a teacher made it of a proposal: which one decides whether it came before
    """

    row: Count
    id: str
    structure_hash: str
    outlier_since: Count | None = None
    origin: str = "{}"


class MergedPart(Message):
    """What dataset.h5 keeps of a part.

    content_sha256  of every array of what stayed (`distillery.dataset.parts.digest_arrays`); the receipt's where all did
    """

    receipt: Receipt
    left_out: tuple[LeftOut, ...] = ()
    content_sha256: Sha256

    @property
    def n_structures(self) -> int:
        """Structures in the dataset."""
        return self.receipt.n_structures - len(self.left_out)


class Summary:
    """What the receipts of all parts, in order, say of a dataset."""

    def __init__(self) -> None:
        self.n_structures = 0
        self.versions: dict[str, set[str]] = {}
        self.first: Receipt | None = None
        self.isolated_atoms: dict[str, float] = {}
        self._digest = hashlib.sha256()

    def add(self, receipt: Receipt, leave_out: Iterable[str]) -> None:
        """Count a part in; Conflict if another teacher labelled it than the first."""
        self.first = self.first or receipt
        ours, theirs = self.first.teacher, receipt.teacher
        if ours.identity != theirs.identity:
            raise Conflict(
                f"parts of one dataset need one teacher: {self.first.part} was labelled by {ours.describe()}, "
                f"{receipt.part} by {theirs.describe()}; move the parts of the wrong teacher away, then resume"
            )
        self.isolated_atoms = {**receipt.isolated_atoms, **self.isolated_atoms}
        gone = sorted(set(leave_out))
        self.n_structures += receipt.n_structures - len(gone)
        self._digest.update(canonical_json([receipt.part, gone, receipt.model_dump(mode="json")]).encode())
        self._note("teacher", receipt.teacher.version)
        for what, its_version in find_versions(receipt).items():
            self._note(what, its_version)

    def _note(self, what: str, its_version: str) -> None:
        self.versions.setdefault(what, set()).add(its_version)

    @property
    def teacher(self) -> TeacherCard:
        """Who made the labels."""
        assert self.first is not None, "a dataset has at least one part"
        return self.first.teacher

    @property
    def parts_sha256(self) -> str:
        """Of all receipts and of what was left out, in order."""
        return self._digest.hexdigest()

    def describe_versions(self) -> dict[str, str]:
        """Every version that made a part, by what it is of."""
        return {what: " ".join(sorted(found)) for what, found in sorted(self.versions.items())}


def find_versions(receipt: Receipt) -> dict[str, str]:
    """The versions of the service that made a part and of the libraries its result depends on, and its weights' sha256."""
    record = receipt.record
    if not record.service_version:
        return {}
    found = {f"service {record.service}": record.service_version}
    found |= {f"service {record.service}: {library}": version for library, version in record.service_versions.items()}
    return found | ({f"service {record.service}: weights": record.service_weights_sha256} if record.service_weights_sha256 else {})


def find_left_out(arrays: Arrays, leave_out: Iterable[str], outliers: Mapping[str, int]) -> tuple[LeftOut, ...]:
    """The structures of a part that are named in `leave_out`, in its order; `outliers` says of some since which round they are that."""
    gone = set(leave_out)
    rows = zip(*(arrays[f"provenance/{name}"].tolist() for name in ("id", "structure_hash", "origin")), strict=True)
    return tuple(
        LeftOut(row=row, id=id, structure_hash=hash, outlier_since=outliers.get(id), origin=_keep_sample(origin))
        for row, (id, hash, origin) in enumerate(rows)
        if id in gone
    )


def _keep_sample(origin: str) -> str:
    """What of an origin says which proposal and frame a structure is, JSON."""
    sample = json.loads(origin).get("sample")
    return canonical_json({"sample": {key: sample[key] for key in ("parent_hash", "frame")}}) if sample else "{}"


def write_merged_parts(file: h5py.Group, parts: Iterable[MergedPart]) -> None:
    """Write a row a part."""
    rows = [part.model_dump_json().encode() for part in parts]
    dtype = h5py.string_dtype("utf-8", max(map(len, rows)))
    chunks = (min(_ROWS_A_CHUNK, len(rows)),)
    data = file.create_dataset(MERGED_PARTS, data=np.array(rows, dtype), chunks=chunks, compression="gzip")
    data.attrs["meaning"] = "a row a part, in order: JSON of its receipt and of what of it was left out"


def read_merged_parts(file: h5py.Group) -> Iterator[MergedPart]:
    """The rows, in order; KeyError if there are none, ValueError names one that can't be read."""
    data = file[MERGED_PARTS]
    for start in range(0, len(data), _ROWS_A_CHUNK):
        for k, row in enumerate(data.asstr()[start : start + _ROWS_A_CHUNK]):
            try:
                yield MergedPart.model_validate_json(row)
            except ValidationError as error:
                raise ValueError(f"row {start + k} of {MERGED_PARTS} is no receipt: {error.errors()[0]['msg']}") from error
