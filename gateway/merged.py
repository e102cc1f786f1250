"""A dataset.h5 read part by part, and the ledger it stands in for when the parts are gone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from contract.checks import LARGEST_EXTENT
from contract.layout import COLUMNS, TEXT, Arrays, make_structure
from contract.parts import Part
from contract.provenance import MergedPart, read_merged_parts
from contract.structures import Structure
from gateway.ledger import Entry, Ledger
from gateway.measures import measure_part
from gateway.plan import Judgement, Mark, PartFacts, Plan
from gateway.recipe import Recipe

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


def read_section(file: h5py.File, structures: Range, atoms: Range) -> Arrays:
    """The columns of a part's structures as the part itself had them: splits and indices from 0."""
    ranges = {"structure": structures, "atom": atoms, "split": (structures[0], structures[1] + 1)}
    arrays: Arrays = {}
    for name, column in COLUMNS.items():
        start, end = ranges[column.rows]
        arrays[name] = file[name].asstr()[start:end] if column.dtype is TEXT else file[name][start:end]
        if column.rows == "split":
            arrays[name] = arrays[name] - atoms[0]
    arrays["labels/structure_indices"] = arrays["labels/structure_indices"] - structures[0]
    return arrays


def make_structures(arrays: Arrays) -> list[Structure]:
    """The structures of columns; ValueError if one holds what no structure can."""
    return [make_structure(arrays, i) for i in range(len(arrays["provenance/id"]))]


def restore_part(section: Section, arrays: Arrays) -> Part:
    """The part as it was, but with a lone hydrogen atom in the place of every structure that was left out."""
    gone = {one.row: one for one in section.part.left_out}
    n = section.part.receipt.n_structures
    kept = np.ones(n, bool)
    kept[list(gone)] = False
    n_atoms = np.ones(n, np.int64)
    n_atoms[kept] = np.diff(arrays["structures/atomic_numbers_splits"])
    rows = {"structure": kept, "atom": np.repeat(kept, n_atoms)}
    restored = {name: _spread_rows(arrays[name], rows[column.rows]) for name, column in COLUMNS.items() if column.rows != "split"}
    restored["structures/atomic_numbers"][~rows["atom"]] = 1
    restored["provenance/system"][~kept], restored["provenance/origin"][~kept] = "molecule", "{}"
    splits = np.concatenate([[0], np.cumsum(n_atoms)])
    restored |= {"structures/atomic_numbers_splits": splits, "labels/forces_splits": splits}
    for row, one in gone.items():
        restored["provenance/id"][row], restored["provenance/structure_hash"][row] = one.id, one.structure_hash
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


class FileLedger(Ledger):
    """The ledger of a dataset.h5: plan, measures and gates come out as from the parts.

    A judgement that counted structures which became surplus later, when shares were changed, can't be made again; the
    one that the file remembers is taken.
    """

    def __init__(self, path: Path, recipe: Recipe, remembered: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(path.parent, recipe)
        self._remembered = {(row["stage"], row["attempt"], row["wave"], row["stretch"]): row for row in remembered}
        self._left_out: dict[str, set[int]] = {}
        self.parts: list[MergedPart] = []

    def take(self, section: Section, arrays: Arrays) -> PartFacts:
        """Measure a part of the file; what it held before anything was left out. ValueError if it can't be measured."""
        if (nonsense := find_nonsense(arrays)) is not None:
            raise ValueError(f"{section.name}: {nonsense}")
        if not np.isfinite(arrays["labels/energy"]).all() or not np.isfinite(arrays["labels/forces"]).all():
            raise ValueError(f"{section.name}: energies or forces hold NaN or infinity")
        part, receipt = restore_part(section, arrays), section.part.receipt
        facts = PartFacts(tuple(part.arrays["provenance/id"]), tuple(part.arrays["provenance/structure_hash"]), receipt.record.note)
        self._entries[section.name] = Entry(receipt.record.seed, receipt.record.start, receipt.teacher, facts, measure_part(part, 0))
        self._left_out[section.name] = {one.row for one in section.part.left_out}
        self.parts.append(section.part)
        return facts

    def find(self, part: str) -> Entry | None:
        """The entry of a part that was taken."""
        return self._entries.get(part)

    def judge(self, plan: Plan, wanted: Mapping[str, int], mark: Mark) -> Judgement:
        """See `Ledger.judge`; ValueError if a judgement is neither to be made nor remembered."""
        if any(self._left_out[part].intersection(drawn.keep(wanted)) for part, drawn in plan.drawn.items()):
            return self._remember(mark)
        return super().judge(plan, wanted, mark)

    def _remember(self, mark: Mark) -> Judgement:
        stretch = None if mark.block is None else mark.block + 1
        row = self._remembered.get((mark.stage, mark.attempt, mark.wave, stretch))
        if row is None:
            raise ValueError(f"what the gates said in stage {mark.stage} at the shares given up later is not in the file")
        went_on = any(stage == mark.stage and attempt > mark.attempt for stage, attempt, _, _ in self._remembered)
        return Judgement(tuple(row["reasons"]), is_for_good=not went_on)

    def make_whole_plan(self) -> Plan:
        """The plan to the end of the recipe, or to the last stage that the parts are of."""
        plan = self.make_plan()
        if plan.is_complete or not self.parts:
            return plan
        names = self.recipe.stage_names
        last = max((part.receipt.record.stage for part in self.parts), key=lambda name: names.index(name) if name in names else -1)
        return self.make_plan(last) if last in names else plan
