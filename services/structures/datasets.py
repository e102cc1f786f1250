"""Another dataset.h5, Distillery's own or one without provenance: its structures, and its labels kept aside."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from distillery.dataset.layout import ALL_COLUMNS, find_hollow
from distillery.dataset.makers import read_makers
from distillery.dataset.splits import find_parent, read_joined
from distillery.generators.files.contents import Contents, ForeignFile, Item, RowRefused, require_atoms
from distillery.generators.files.frames import MOST_ATOMS
from distillery.structures.structure import Structure
from services.structures.conversion import describe_row

_NEEDED = ("structures/atomic_numbers", "structures/atomic_numbers_splits", "structures/positions", "structures/cells", "structures/pbc")

_KEPT_FILES = 16


class DatasetReader:
    """A `contents.Reader`; the place of a structure is its row."""

    def list_files(self, path: Path) -> Sequence[Path]:
        """The file alone."""
        return [path]

    def scan(self, path: Path) -> Iterator[Item]:
        """Every row."""
        with _open(path) as file:
            for row in range(len(file["structures/pbc"])):
                yield describe_row(row, _read_row(file, row, {}))

    def read(self, path: Path, contents: Contents, rows: Sequence[int]) -> Iterator[Structure | RowRefused]:
        """The rows wanted."""
        licences = _read_licences(path, contents.key.tobytes())
        with _open(path) as file:
            for row in rows:
                yield _read_row(file, row, licences)


@contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    try:
        with h5py.File(path, "r") as file:
            if missing := [name for name in _NEEDED if name not in file]:
                kind = ForeignFile if len(missing) == len(_NEEDED) else ValueError
                raise kind(f"it is no dataset: it has no {', '.join(missing)}")
            if (hollow := find_hollow(file, ALL_COLUMNS)) is not None:
                raise ValueError(f"it is damaged: {hollow}")
            yield file
    except (OSError, RuntimeError, LookupError) as error:
        raise ValueError(f"it can't be read as HDF5: {error}") from error


@lru_cache(maxsize=_KEPT_FILES)
def _read_licences(path: Path, key: bytes) -> Mapping[str, str]:
    """By shard the licence that its service declared, where that says more than that the structure does; ValueError if it can't be read."""
    with _open(path) as file:
        return {shard: maker.licence for shard, maker in read_makers(file).items() if maker.licence and maker.service != "structures"}


def _read_row(file: h5py.File, row: int, licences: Mapping[str, str]) -> Structure | RowRefused:
    try:
        start, stop = (int(place) for place in file["structures/atomic_numbers_splits"][row : row + 2])
        if not 0 <= stop - start <= MOST_ATOMS:
            raise RowRefused("unreadable", f"it claims {stop - start} atoms, at most {MOST_ATOMS} are read")
        numbers = np.asarray(file["structures/atomic_numbers"][start:stop], dtype=np.int64)
        require_atoms(numbers)
        a, b, c = (bool(one) for one in file["structures/pbc"][row])
        return Structure(
            id="",
            numbers=numbers.astype(np.uint8),
            positions=np.asarray(file["structures/positions"][start:stop], dtype=np.float64),
            cell=np.asarray(file["structures/cells"][row], dtype=np.float64) if a or b or c else np.zeros((3, 3)),
            pbc=(a, b, c),
            system="crystal" if a or b or c else "molecule",
            origin={"info": _read_provenance(file, row, numbers, licences), "own": _read_label(file, row, start, stop)},
            charge=_read_number(file, "structures/charges", row),
            multiplicity=_read_number(file, "structures/multiplicities", row),
        )
    except RowRefused as refusal:
        return refusal
    except OSError:
        raise
    except Exception as error:  # h5py, json: whatever a column of another kind leads to
        return RowRefused("unreadable", f"{type(error).__name__}: {str(error)[:200]}")


def _read_number(file: h5py.File, column: str, row: int) -> int:
    return int(file[column][row]) if column in file else 0


def _read_provenance(file: h5py.File, row: int, numbers: NDArray[np.int64], licences: Mapping[str, str]) -> dict[str, Any]:
    """Id, source, service, system, parent and licence that it had there, and how it was made, but for labels that it had had before."""
    names = [name for name in ("id", "source", "service", "system") if f"provenance/{name}" in file]
    known: dict[str, Any] = {name: file[f"provenance/{name}"].asstr()[row] for name in names}
    if "provenance/origin" in file:
        origin = json.loads(file["provenance/origin"].asstr()[row])
        known["origin"] = {key: value for key, value in origin.items() if key != "own"}
        if {"service", "system"} <= known.keys():
            parent = find_parent(known["service"], known["system"], numbers, origin)
            known["parent"] = read_joined(file).get(parent, parent)
    licence = licences.get(file["provenance/shard"].asstr()[row]) if licences else None
    return known | ({"licence": licence} if licence else {})


def _read_label(file: h5py.File, row: int, start: int, stop: int) -> dict[str, Any]:
    """Its label there, eV, eV/Å, eV/Å³, and who gave it."""
    label: dict[str, Any] = {}
    if "labels/energy" in file:
        label["energy"] = file["labels/energy"][row]
    if "labels/forces" in file:
        label["forces"] = file["labels/forces"][start:stop].tolist()
    if "labels/stress" in file and ("labels/stress_mask" not in file or file["labels/stress_mask"][row]):
        label["stress"] = file["labels/stress"][row].tolist()
    teacher = file["metadata"].attrs.get("teacher_model") if "metadata" in file else None
    return {**label, **({"teacher": str(teacher)} if teacher is not None else {})}
