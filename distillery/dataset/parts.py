"""Parts: one immutable HDF5 file a shard, written whole or not at all. They are all that is known of what is made."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from distillery.dataset.layout import TEXT, Arrays, Label, choose_columns, describe_columns, read_arrays
from distillery.dataset.sealed_file import find_broken_seal, write_atomically
from distillery.errors import CorruptPart, Problem, Unavailable
from distillery.schema.label import Receipt
from distillery.structures.structure import Structure


def corrupt(path: Path, why: str) -> CorruptPart:
    """The problem of a part that can't be read or does not hold what it says."""
    return CorruptPart(f"{path} is corrupt ({why}). Move it away and resume: only this part is made again.")


@dataclass(frozen=True, eq=False)
class Part:
    """What a part holds.

    arrays       the columns of `distillery.dataset.layout`
    quarantined  the structures the labeller refused or the teacher failed on, as `receipt.rejected` says
    refused_labels  energy (eV), forces (eV/Å) and stress (eV/Å³) of those of them that have a label, by id
    """

    receipt: Receipt
    arrays: Arrays
    quarantined: list[Structure]
    refused_labels: Mapping[str, Any] = field(default_factory=dict)


def digest_arrays(arrays: Arrays) -> str:
    """sha256 over name, shape and bytes of every column."""
    digest = hashlib.sha256()
    for name, column in choose_columns(arrays).items():
        array = arrays[name]
        digest.update(f"{name}{array.shape}".encode())
        if column.dtype is TEXT:
            digest.update("\0".join(array.tolist()).encode())
        else:
            digest.update(np.ascontiguousarray(array, dtype=column.dtype).data)
    return digest.hexdigest()


def write_part(
    path: Path,
    receipt: Receipt,
    arrays: Arrays,
    quarantined: Sequence[Structure] = (),
    refused_labels: Mapping[str, Label] | None = None,
) -> bool:
    """Write a part atomically; False (and no change) if there is one already. OSError (disk full) leaves no trace.

    refused_labels  of quarantined structures that have one, by id
    """
    from distillery.structures.arrow import to_arrow  # as in `read_part`: only the quarantine needs pyarrow

    labels = {id: describe_label(label) for id, label in (refused_labels or {}).items()}

    def fill(file: h5py.File) -> None:
        for name, column in choose_columns(arrays).items():
            file.create_dataset(name, data=arrays[name], dtype=column.dtype)
        describe_columns(file)
        file.attrs["receipt"] = receipt.model_dump_json()
        file.create_dataset("quarantine", data=np.frombuffer(to_arrow(quarantined, {"labels": labels} if labels else None), np.uint8))

    return write_atomically(path, fill, replace=False)


def describe_label(label: Label) -> dict[str, Any]:
    """A label as JSON: energy eV, forces eV/Å, stress eV/Å³ or null; where there are any, atomic energies eV."""
    atomic = {} if label.atomic_energies is None else {"atomic_energies": label.atomic_energies.tolist()}
    return {
        "energy": label.energy,
        "forces": label.forces.tolist(),
        "stress": None if label.stress is None else label.stress.tolist(),
        **atomic,
    }


def read_receipt(path: Path) -> Receipt:
    """A part's receipt, its arrays unread; CorruptPart if it is not a part."""
    try:
        with h5py.File(path, "r") as file:
            return Receipt.model_validate_json(file.attrs["receipt"])
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise _unreadable(path, error) from error


def read_part(path: Path) -> Part:
    """A part whose content agrees with its digest; CorruptPart if it does not."""
    from distillery.structures.arrow import from_arrow

    try:
        with path.open("rb") as sealed:  # before all of it is in memory: what is cut off or drawn out can have any size
            if (fault := find_broken_seal(sealed)) is not None:
                raise corrupt(path, fault)
            sealed.seek(0)
            content = sealed.read()
        with h5py.File(io.BytesIO(content), "r") as file:
            receipt = Receipt.model_validate_json(file.attrs["receipt"])
            arrays = read_arrays(file)
            quarantined, metadata = from_arrow(file["quarantine"][:].tobytes())
    except CorruptPart:
        raise
    except (OSError, KeyError, ValueError, RuntimeError, Problem) as error:
        raise _unreadable(path, error) from error
    if digest_arrays(arrays) != receipt.content_sha256:
        raise corrupt(path, "its content differs from its digest")
    return Part(receipt, arrays, quarantined, metadata.get("labels", {}))


def _unreadable(path: Path, error: Exception) -> Problem:
    if isinstance(error, FileNotFoundError | PermissionError):
        return Unavailable(f"{path} can't be read: {error}")
    return corrupt(path, " ".join(f"{type(error).__name__}: {error}".split()))  # HDF5's have several lines
