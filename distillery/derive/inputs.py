"""A dataset that another one is made of, looked at once before anything is written."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from distillery.dataset.blocks import read_sizes
from distillery.dataset.derivation import PIECES, TEACHER, Derivation, GivenDataset, read_attributes, read_derivation
from distillery.dataset.folder import name_dataset
from distillery.dataset.layout import ALL_COLUMNS, list_optional, open_dataset
from distillery.dataset.makers import Maker, read_makers
from distillery.dataset.provenance import MERGED_PARTS, read_merged_parts
from distillery.dataset.sealed_file import require_unbroken
from distillery.errors import InvalidRequest
from distillery.schema.label import TeacherCard
from distillery.weights.checksums import sha256_of

_BLOCK = 1 << 20


@dataclass(frozen=True, eq=False)
class Input:
    """A whole dataset."""

    path: Path
    sha256: str
    attributes: dict[str, Any]

    @property
    def name(self) -> str:
        """See `name_dataset`."""
        return name_dataset(self.path)

    @cached_property
    def n_atoms(self) -> NDArray[np.int64]:
        """Of each structure, (n,)."""
        return read_sizes(self.path)

    @property
    def teacher(self) -> tuple[str, str]:
        """Name and sha256 of the weights, each "" where the file does not say."""
        return str(self.attributes.get("teacher_model", "")), str(self.attributes.get("weights_sha256", ""))

    @cached_property
    def makers(self) -> dict[str, Maker]:
        """Who made the structures of each shard."""
        with open_dataset(self.path) as file:
            return read_makers(file)

    @cached_property
    def optional_columns(self) -> tuple[str, ...]:
        """Those that the file has."""
        with open_dataset(self.path) as file:
            return list_optional(file)

    @cached_property
    def derivation(self) -> Derivation | None:
        """How it came about, if it was made of others."""
        with open_dataset(self.path) as file:
            return read_derivation(file)

    @cached_property
    def teacher_card(self) -> TeacherCard | None:
        """Who labelled it, with all that is known of it."""
        if TEACHER in self.attributes:
            return TeacherCard.model_validate_json(self.attributes[TEACHER])
        with open_dataset(self.path) as file:
            return next((part.receipt.teacher for part in read_merged_parts(file)), None) if MERGED_PARTS in file else None

    def record(self, n_taken: int) -> GivenDataset:
        """What the new dataset keeps of it."""
        return GivenDataset(
            name=self.name,
            file=self.path.name,
            sha256=self.sha256,
            structures_sha256=str(self.attributes.get("structures_sha256", "")),
            n_structures=len(self.n_atoms),
            n_taken=n_taken,
            creation_time=str(self.attributes.get("creation_time", "")),
            recipe=str(self.attributes.get("recipe", "")),
            derivation=self.derivation,
        )


def open_input(path: Path) -> Input:
    """A dataset to make another one of; InvalidRequest if it is none, or damaged."""
    with open_dataset(path) as file:
        _refuse_strange_columns(path, file)
    require_unbroken(path, "nothing is made of it")
    return Input(path, sha256_of(path), read_attributes(path))


def _refuse_strange_columns(path: Path, file: h5py.File) -> None:
    """InvalidRequest if the file has columns that would be lost."""
    found: set[str] = set()
    file.visititems(lambda name, item: found.add(name) if isinstance(item, h5py.Dataset) else None)
    if strange := sorted(found - {*ALL_COLUMNS, MERGED_PARTS, PIECES}):
        raise InvalidRequest(f"{path} has columns that can't be carried over: {', '.join(strange)}; remove them from a copy of it first")


def read_hashes(path: Path) -> NDArray[np.bytes_]:
    """The structure hash of every structure, 32 bytes each, (n,)."""
    with open_dataset(path) as file:
        column: h5py.Dataset = file["provenance/structure_hash"]
        found = np.zeros(len(column), "S32")
        for start in range(0, len(column), _BLOCK):
            found[start : start + _BLOCK] = column[start : start + _BLOCK].astype("S32")
        return found


def read_json(attributes: dict[str, Any], name: str) -> dict[str, Any]:
    """An attribute of `metadata` that is JSON; empty if there is none."""
    found: dict[str, Any] = json.loads(attributes.get(name, "{}"))
    return found
