"""A dataset.h5 read part by part, as if the parts were still there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from distillery.dataset.layout import HESSIAN_SPLITS, TEXT, Arrays, choose_columns, make_structure
from distillery.dataset.parts import Part
from distillery.dataset.provenance import MergedPart, read_merged_parts
from distillery.structures.cells import LARGEST_EXTENT
from distillery.structures.structure import Structure

Range = tuple[int, int]


@dataclass(frozen=True)
class Section:
    """The rows that a part has in the file: structures[0] up to structures[1], and its atoms."""

    part: MergedPart
    structures: Range
    atoms: Range

    @property
    def name(self) -> str:
        """The part's."""
        return self.part.receipt.part


def find_sections(file: h5py.File) -> list[Section]:
    """Every part's rows, in order; ValueError if the parts do not add up to the file's structures."""
    splits = file["structures/atomic_numbers_splits"][:]
    sections, at = [], 0
    for part in read_merged_parts(file):
        end = at + part.n_structures
        if part.n_structures < 0 or end >= len(splits):
            raise ValueError(f"the parts up to {part.receipt.part} hold {end} structures, the file {len(splits) - 1}")
        sections.append(Section(part, (at, end), (int(splits[at]), int(splits[end]))))
        at = end
    if at != len(splits) - 1:
        raise ValueError(f"the parts hold {at} structures, the file {len(splits) - 1}")
    return sections


def read_section(file: h5py.File, structures: Range, atoms: Range, optional: Sequence[str]) -> Arrays:
    """The columns of a part's structures as the part itself had them, of the `optional` ones these alone: splits and indices from 0."""
    splits = (structures[0], structures[1] + 1)
    entries = file[HESSIAN_SPLITS][structures[0] : splits[1]][[0, -1]].tolist() if HESSIAN_SPLITS in optional else (0, 0)
    ranges = {"structure": structures, "atom": atoms, "split": splits, "entry_split": splits, "entry": tuple(entries)}
    arrays: Arrays = {}
    for name, column in choose_columns(optional).items():
        start, end = ranges[column.rows]
        arrays[name] = file[name].asstr()[start:end] if column.dtype is TEXT else file[name][start:end]
        if column.rows == "split":
            arrays[name] = arrays[name] - atoms[0]
        if column.rows == "entry_split":
            arrays[name] = arrays[name] - entries[0]
    arrays["labels/structure_indices"] = arrays["labels/structure_indices"] - structures[0]
    return arrays


def make_structures(arrays: Arrays) -> list[Structure]:
    """The structures of columns; ValueError if one holds what no structure can."""
    return [make_structure(arrays, i) for i in range(len(arrays["provenance/id"]))]


def restore_part(section: Section, arrays: Arrays) -> Part:
    """The part as it was, without its Hessians, and with a lone hydrogen atom in the place of every structure that was left out."""
    gone = {one.row: one for one in section.part.left_out}
    n = section.part.receipt.n_structures
    kept = np.ones(n, bool)
    kept[list(gone)] = False
    n_atoms = np.ones(n, np.int64)
    n_atoms[kept] = np.diff(arrays["structures/atomic_numbers_splits"])
    rows = {"structure": kept, "atom": np.repeat(kept, n_atoms)}
    columns = {name: column for name, column in choose_columns(arrays).items() if column.rows in rows}
    restored = {name: _spread_rows(arrays[name], rows[column.rows]) for name, column in columns.items()}
    restored["structures/atomic_numbers"][~rows["atom"]] = 1
    restored["provenance/system"][~kept] = "molecule"
    splits = np.concatenate([[0], np.cumsum(n_atoms)])
    restored |= {"structures/atomic_numbers_splits": splits, "labels/forces_splits": splits}
    for row, one in gone.items():
        for name, value in (("id", one.id), ("structure_hash", one.structure_hash), ("origin", one.origin)):
            restored[f"provenance/{name}"][row] = value
    return Part(section.part.receipt, restored, [])


def _spread_rows(rows: NDArray[Any], where: NDArray[np.bool_]) -> NDArray[Any]:
    spread = np.full((len(where), *rows.shape[1:]), "" if rows.dtype == object else 0, rows.dtype)
    spread[where] = rows
    return spread


def find_nonsense(arrays: Arrays) -> str | None:
    """Why structures can't be measured: neighbour lists of what is infinite or immense exhaust memory. None if they can."""
    splits, positions = arrays["structures/atomic_numbers_splits"], arrays["structures/positions"]
    if not np.isfinite(positions).all() or not np.isfinite(arrays["structures/cells"]).all():
        return "positions or cells hold NaN or infinity"
    if len(positions) == 0:
        return None
    extent = np.maximum.reduceat(positions, splits[:-1]) - np.minimum.reduceat(positions, splits[:-1])
    largest = max(float(extent.max()), float(np.abs(arrays["structures/cells"]).max()))
    return f"a structure extends over {largest:.1e} Å" if largest > LARGEST_EXTENT else None
