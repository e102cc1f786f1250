"""How a dataset came about that was made of others, not of a recipe: its inputs, what was asked, and the pieces it consists of."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from pydantic import Field, ValidationError

from distillery.dataset.sections import Range
from distillery.schema.base import Count, Element, Message, Sha256
from distillery.structures.structure import System

DERIVATION = "derivation"
"""Attribute of the group `metadata`: JSON of `Derivation`. A dataset that a recipe made has none."""
TEACHER = "teacher"
"""Attribute of the group `metadata` of such a dataset: JSON of the `TeacherCard`, where the inputs have one."""
PIECES = "provenance/pieces"
"""The dataset with one row a piece, in order: JSON of `Piece`, gzip."""
_ROWS_A_CHUNK = 16


class GivenDataset(Message):
    """A dataset that was read.

    name        of its folder, or of its file where that is not called dataset.h5
    file        name of the file
    sha256      of the file
    n_taken     of its structures, those in the new dataset
    recipe      what it was made from; empty if it does not say
    derivation  how it came about, if it was made of others itself
    """

    name: str
    file: str
    sha256: Sha256
    structures_sha256: str = ""
    n_structures: Count
    n_taken: Count
    creation_time: str = ""
    recipe: str = ""
    derivation: "Derivation | None" = None

    @property
    def argument(self) -> str:
        """What a command calls it."""
        return self.name if self.file == "dataset.h5" else self.file


class Derivation(Message):
    """The command that made a dataset of others: given the same inputs and versions, it makes the same bytes again.

    arguments  the options that were given, as words
    left_out   structures that were not taken, by reason
    elements   that occur
    versions   of what decides the bytes
    """

    command: Literal["merge", "filter", "select"]
    arguments: tuple[str, ...] = ()
    inputs: tuple[GivenDataset, ...]
    left_out: dict[str, Count] = Field({})
    elements: tuple[Element, ...]
    versions: dict[str, str]

    def write_command(self, out: str, inputs: Iterable[str] | None = None) -> list[str]:
        """The words of the command that makes it again, of inputs that lie elsewhere if that is said."""
        names = [one.argument for one in self.inputs] if inputs is None else inputs
        return ["distillery", self.command, *names, *self.arguments, "--out", out]


class Piece(Message):
    """Structures that follow one another and are of one shard.

    licence, versions  what its service declared, and the versions that made it
    optional_columns   that these structures have
    content_sha256     of every array (`distillery.dataset.parts.digest_arrays`)
    """

    shard: str
    source: str
    service: str
    system: System
    licence: str = ""
    versions: dict[str, str] = Field({})
    n_structures: Count
    n_atoms: Count
    optional_columns: tuple[str, ...] = Field((), exclude_if=lambda columns: not columns)
    content_sha256: Sha256


def is_derived(file: h5py.Group) -> bool:
    """Whether a dataset was made of others."""
    return "metadata" in file and DERIVATION in file["metadata"].attrs


def read_derivation(file: h5py.Group) -> Derivation | None:
    """How an open dataset came about; None if it was made of a recipe, ValueError if what it says can't be read."""
    return Derivation.model_validate_json(file["metadata"].attrs[DERIVATION]) if is_derived(file) else None


def write_pieces(file: h5py.Group, pieces: Iterable[Piece]) -> None:
    """Write a row a piece; there is one at least."""
    rows = [piece.model_dump_json().encode() for piece in pieces]
    dtype = h5py.string_dtype("utf-8", max(map(len, rows)))
    data = file.create_dataset(PIECES, data=np.array(rows, dtype), chunks=(min(_ROWS_A_CHUNK, len(rows)),), compression="gzip")
    data.attrs["meaning"] = "a row a piece, in order: JSON of its shard, source and digest"


def read_pieces(file: h5py.Group) -> Iterator[Piece]:
    """The rows, in order; KeyError if there are none, ValueError names one that can't be read."""
    data = file[PIECES]
    for start in range(0, len(data), _ROWS_A_CHUNK):
        for k, row in enumerate(data.asstr()[start : start + _ROWS_A_CHUNK]):
            try:
                yield Piece.model_validate_json(row)
            except ValidationError as error:
                raise ValueError(f"row {start + k} of {PIECES} is no piece: {error.errors()[0]['msg']}") from error


def place_pieces(file: h5py.Group) -> Iterator[tuple[Piece, Range, Range]]:
    """Every piece with its rows by structure and by atom; ValueError if the pieces do not add up to the file."""
    structures = atoms = 0
    for piece in read_pieces(file):
        yield piece, (structures, structures + piece.n_structures), (atoms, atoms + piece.n_atoms)
        structures, atoms = structures + piece.n_structures, atoms + piece.n_atoms
    held = len(file["labels/energy"]), len(file["structures/atomic_numbers"])
    if (structures, atoms) != held:
        raise ValueError(f"the pieces hold {structures} structures and {atoms} atoms, the file {held[0]} and {held[1]}")


def read_attributes(path: Path) -> dict[str, Any]:
    """The attributes of `metadata`, none if the group is missing."""
    with h5py.File(path, "r") as file:
        return dict(file["metadata"].attrs) if "metadata" in file else {}
