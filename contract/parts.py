"""Parts: one immutable HDF5 file a shard, written whole or not at all. They are the ledger of a dataset."""

import contextlib
import hashlib
import os
import socket
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from contract.arrow import from_arrow, to_arrow
from contract.layout import COLUMNS, TEXT, Arrays, describe_columns, read_arrays
from contract.messages import Receipt
from contract.problems import Problem, Unavailable
from contract.structures import Structure

PARTS_FOLDER = "parts"
_TEMPORARY = ".tmp"


class CorruptPart(Problem):
    """A part that can't be read or does not hold what it says; move it away and resume to make it again."""

    kind, status, title = "corrupt_part", 500, "A part is corrupt"

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} is corrupt ({why}). Move it away and resume: only this part is made again.")


@dataclass(frozen=True, eq=False)
class Part:
    """What a part holds.

    arrays       the columns of `contract.layout.COLUMNS`
    quarantined  the structures the labeller refused or the teacher failed on, as `receipt.rejected` says
    """

    receipt: Receipt
    arrays: Arrays
    quarantined: list[Structure]


def part_path(dataset_folder: Path, part: str) -> Path:
    """Where a part lies."""
    return dataset_folder / PARTS_FOLDER / f"{part}.h5"


def list_parts(dataset_folder: Path) -> list[str]:
    """The names of all finished parts, sorted."""
    return sorted(path.stem for path in (dataset_folder / PARTS_FOLDER).glob("*.h5"))


def digest_arrays(arrays: Arrays) -> str:
    """sha256 over name, shape and bytes of every column."""
    digest = hashlib.sha256()
    for name, column in COLUMNS.items():
        array = arrays[name]
        digest.update(f"{name}{array.shape}".encode())
        if column.dtype is TEXT:
            digest.update("\0".join(array.tolist()).encode())
        else:
            digest.update(np.ascontiguousarray(array, dtype=column.dtype).tobytes())
    return digest.hexdigest()


def write_part(path: Path, receipt: Receipt, arrays: Arrays, quarantined: Sequence[Structure] = ()) -> bool:
    """Write a part atomically; False (and no change) if there is one already. OSError (disk full) leaves no trace."""

    def fill(file: h5py.File) -> None:
        for name, column in COLUMNS.items():
            file.create_dataset(name, data=arrays[name], dtype=column.dtype)
        describe_columns(file)
        file.attrs["receipt"] = receipt.model_dump_json()
        file.create_dataset("quarantine", data=np.frombuffer(to_arrow(quarantined), np.uint8))

    return write_atomically(path, fill, replace=False)


def write_atomically(path: Path, fill: Callable[[h5py.File], None], *, replace: bool) -> bool:
    """Fill a temporary HDF5 file, fsync it, give it its name, fsync the folder.

    With `replace` false an existing file stays and False is returned, also when two writers race.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}{_TEMPORARY}"
    try:
        with h5py.File(temporary, "x", libver=("v110", "v110")) as file:
            fill(file)
        _fsync(temporary)
        if replace:
            temporary.replace(path)
        else:
            try:
                path.hardlink_to(temporary)
            except FileExistsError:
                return False
        _fsync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_temporaries(dataset_folder: Path) -> int:
    """Remove what killed writers left behind; how many there were. Call it only when nobody writes."""
    leftovers = [*dataset_folder.glob(f".*{_TEMPORARY}"), *(dataset_folder / PARTS_FOLDER).glob(f".*{_TEMPORARY}")]
    for leftover in leftovers:
        with contextlib.suppress(FileNotFoundError):
            leftover.unlink()
    return len(leftovers)


def read_receipt(path: Path) -> Receipt:
    """A part's receipt, its arrays unread; CorruptPart if it is not a part."""
    try:
        with h5py.File(path, "r") as file:
            return Receipt.model_validate_json(file.attrs["receipt"])
    except (OSError, KeyError, ValueError) as error:
        raise _unreadable(path, error) from error


def read_part(path: Path) -> Part:
    """A part whose content agrees with its digest; CorruptPart if it does not."""
    try:
        with h5py.File(path, "r") as file:
            receipt = Receipt.model_validate_json(file.attrs["receipt"])
            arrays = read_arrays(file)
            quarantined, _ = from_arrow(file["quarantine"][:].tobytes())
    except (OSError, KeyError, ValueError, RuntimeError, Problem) as error:
        raise _unreadable(path, error) from error
    if digest_arrays(arrays) != receipt.content_sha256:
        raise CorruptPart(path, "its content differs from its digest")
    return Part(receipt, arrays, quarantined)


def _unreadable(path: Path, error: Exception) -> Problem:
    if isinstance(error, FileNotFoundError | PermissionError):
        return Unavailable(f"{path} can't be read: {error}")
    return CorruptPart(path, f"{type(error).__name__}: {error}")
