"""Merging parts, in plan order, into dataset.h5; its content depends on the order asked for alone."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from contract import CONTRACT_VERSION
from contract.arrow import canonical_json
from contract.disk import find_broken_seal
from contract.identity import digest_structures
from contract.layout import CHUNK_ROWS, COLUMNS, LAYOUT_VERSION, TEXT, Arrays, describe_columns, select_structures
from contract.messages import FinaliseReceipt, FinaliseRequest, PartSelection, Receipt
from contract.parts import part_path, read_part, remove_temporaries, write_atomically
from contract.problems import Conflict, InvalidRequest, NotFound
from labeller.disk_faults import name_disk_faults

DATASET_FILE = "dataset.h5"
_LIBRARIES = ("h5py", "numpy", "ase")


class Survey:
    """What one pass over all parts finds: sizes, digests, versions."""

    def __init__(self, folder: Path, request: FinaliseRequest) -> None:
        self.n_structures = self.n_atoms = 0
        self.versions: dict[str, set[str]] = {}
        self.first: Receipt | None = None
        self._request = request
        self._contents = hashlib.sha256()
        ids: list[str] = []
        hashes: list[str] = []
        for selection, receipt, arrays in _read_selected(folder, request):
            self._add(selection, receipt)
            ids += arrays["provenance/id"].tolist()
            hashes += arrays["provenance/structure_hash"].tolist()
            self.n_structures += len(arrays["labels/energy"])
            self.n_atoms += len(arrays["structures/atomic_numbers"])
        self.structures_sha256 = digest_structures(ids, hashes)
        self.parts_sha256 = self._contents.hexdigest()

    def _add(self, selection: PartSelection, receipt: Receipt) -> None:
        self.first = self.first or receipt
        for what in ("name", "weights_sha256"):
            ours, theirs = getattr(self.first.teacher, what), getattr(receipt.teacher, what)
            if ours != theirs:
                raise Conflict(f"parts of one dataset need one teacher: {self.first.part} has {what} {ours}, {receipt.part} has {theirs}")
        self._contents.update(canonical_json([selection.part, sorted(selection.leave_out), receipt.content_sha256]).encode())
        record = receipt.record
        self._note("teacher", receipt.teacher.version)
        self._note(f"service {record.service}", record.service_version)
        for library, its_version in record.service_versions.items():
            self._note(f"service {record.service}: {library}", its_version)

    def _note(self, what: str, its_version: str) -> None:
        self.versions.setdefault(what, set()).add(its_version)

    def attributes(self) -> dict[str, Any]:
        """The attributes of the file's `metadata` group."""
        assert self.first is not None, "a dataset has at least one part"
        teacher = self.first.teacher
        versions = {what: " ".join(sorted(found)) for what, found in self.versions.items()}
        versions |= {"contract": CONTRACT_VERSION, **{library: version(library) for library in _LIBRARIES}}
        return {
            "num_structures": self.n_structures,
            "total_atoms": self.n_atoms,
            "teacher_model": teacher.name,
            "teacher_version": teacher.version,
            "weights_sha256": teacher.weights_sha256,
            "recipe": self._request.recipe,
            "recipe_sha256": self._request.recipe_sha256,
            "seed": self._request.seed,
            "versions": canonical_json(versions),
            "units": canonical_json({name: column.unit for name, column in COLUMNS.items() if column.unit}),
            "layout_version": LAYOUT_VERSION,
            "structures_sha256": self.structures_sha256,
            "parts_sha256": self.parts_sha256,
        }


def finalise(root: Path, request: FinaliseRequest) -> FinaliseReceipt:
    """Make dataset.h5 of a dataset; an equal one that lies there already stays as it is.

    NotFound: a part is missing. Conflict: a part of another recipe, or of another teacher. CorruptPart: a part does not
    agree with its digests. Memory holds one part at a time.
    """
    folder = root / request.dataset
    _refuse_repeated_parts(request)
    survey = Survey(folder, request)
    path = folder / DATASET_FILE
    attributes = survey.attributes()
    with name_disk_faults(folder):
        if not _is_there_already(path, attributes):
            attributes["creation_time"] = datetime.now(UTC).isoformat(timespec="seconds")
            write_atomically(path, lambda file: _fill(file, folder, request, survey, attributes), replace=True)
        remove_temporaries(folder)
        n_bytes = path.stat().st_size
    return FinaliseReceipt(
        dataset=request.dataset,
        n_structures=survey.n_structures,
        n_atoms=survey.n_atoms,
        structures_sha256=survey.structures_sha256,
        n_bytes=n_bytes,
    )


def _refuse_repeated_parts(request: FinaliseRequest) -> None:
    if not request.parts:
        raise InvalidRequest(f"dataset {request.dataset} needs at least one part; got none")
    names = [selection.part for selection in request.parts]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise InvalidRequest(f"a part goes into a dataset once; twice or more: {', '.join(twice)}")


def _read_selected(folder: Path, request: FinaliseRequest) -> Iterator[tuple[PartSelection, Receipt, Arrays]]:
    """Each part with the structures that stay, in the order asked for."""
    for selection in request.parts:
        path = part_path(folder, selection.part)
        if not path.exists():
            raise NotFound(f"part {selection.part} of {request.dataset} is missing: there is no {path}; resume to make it")
        part = read_part(path)
        if part.receipt.record.recipe_sha256 != request.recipe_sha256:
            raise Conflict(
                f"{path} belongs to another recipe: its recipe_sha256 is {part.receipt.record.recipe_sha256}, "
                f"that of this dataset {request.recipe_sha256}; move it away and resume"
            )
        yield selection, part.receipt, _leave_out(selection, part.arrays)


def _leave_out(selection: PartSelection, arrays: Arrays) -> Arrays:
    if not selection.leave_out:
        return arrays
    unknown = sorted(set(selection.leave_out) - set(arrays["provenance/id"].tolist()))
    if unknown:
        raise InvalidRequest(f"leave_out of part {selection.part} names structures it does not hold: {', '.join(unknown[:3])}")
    keep: NDArray[np.bool_] = ~np.isin(arrays["provenance/id"].astype(str), selection.leave_out)
    return select_structures(arrays, keep)


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


def _fill(file: h5py.File, folder: Path, request: FinaliseRequest, survey: Survey, attributes: dict[str, Any]) -> None:
    _create_columns(file, survey.n_structures, survey.n_atoms)
    at_structure = at_atom = 0
    for _, _, arrays in _read_selected(folder, request):
        n_structures, n_atoms = len(arrays["labels/energy"]), len(arrays["structures/atomic_numbers"])
        for name, column in COLUMNS.items():
            if column.rows == "split":
                file[name][at_structure + 1 : at_structure + 1 + n_structures] = arrays[name][1:] + at_atom
            elif name == "labels/structure_indices":
                file[name][at_structure : at_structure + n_structures] = arrays[name] + at_structure
            elif column.rows == "atom":
                file[name][at_atom : at_atom + n_atoms] = arrays[name]
            else:
                file[name][at_structure : at_structure + n_structures] = arrays[name]
        at_structure, at_atom = at_structure + n_structures, at_atom + n_atoms
    describe_columns(file)
    metadata = file.create_group("metadata")
    for name, value in attributes.items():
        metadata.attrs[name] = value


def _create_columns(file: h5py.File, n_structures: int, n_atoms: int) -> None:
    rows = {"structure": n_structures, "atom": n_atoms, "split": n_structures + 1}
    for name, column in COLUMNS.items():
        n_rows = rows[column.rows]
        chunks = (min(CHUNK_ROWS, n_rows), *column.shape) if n_rows else None
        dataset = file.create_dataset(name, (n_rows, *column.shape), dtype=TEXT if column.dtype is TEXT else column.dtype, chunks=chunks)
        if column.rows == "split":
            dataset[0] = 0
