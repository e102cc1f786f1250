"""The parts that a dataset.h5 was merged of, for when their own files are gone."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from distillery.dataset.provenance import MergedPart
from distillery.dataset.sections import Section, find_nonsense, read_section, restore_part
from distillery.planning.made_parts import MadePart, MadeParts, find_proposals, read_fingerprints
from distillery.planning.part_measures import PartMeasures, measure_part
from distillery.planning.plan import Judgement, PartFacts, Plan, PlanPosition
from distillery.recipe.recipe import Recipe


def measure_section(path: Path, section: Section) -> tuple[PartFacts, PartMeasures]:
    """Measure a part of a file: what it held before anything was left out. ValueError if it can't be measured."""
    with h5py.File(path, "r") as file:
        arrays = read_section(file, section.structures, section.atoms, section.part.receipt.optional_columns)
    if (nonsense := find_nonsense(arrays)) is not None:
        raise ValueError(f"{section.name}: {nonsense}")
    if not np.isfinite(arrays["labels/energy"]).all() or not np.isfinite(arrays["labels/forces"]).all():
        raise ValueError(f"{section.name}: energies or forces hold NaN or infinity")
    part, record = restore_part(section, arrays), section.part.receipt.record
    facts = PartFacts(
        tuple(part.arrays["provenance/id"]),
        tuple(part.arrays["provenance/structure_hash"]),
        record.note,
        proposals=find_proposals(part.arrays),
        fingerprints=read_fingerprints(record, part.arrays["provenance/id"]),
    )
    return facts, measure_part(part, 0)


class MergedParts(MadeParts):
    """The parts in a dataset.h5: plan, measures and gates come out as from the parts.

    A judgement that counted structures which became surplus later, when shares were changed, can't be made again; the
    one that the file remembers is taken.
    """

    def __init__(self, path: Path, recipe: Recipe, remembered: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(path.parent, recipe)
        self._remembered = {(row["stage"], row["attempt"], row["wave"], row["stretch"], row.get("step", 0)): row for row in remembered}
        self._left_out: dict[str, set[int]] = {}
        self._outliers_since: dict[str, dict[int, int]] = {}
        self.parts: list[MergedPart] = []

    def take(self, section: Section, facts: PartFacts, measures: PartMeasures) -> None:
        """Keep what was measured of a part of the file."""
        self._found[section.name] = self._keep(section.part.receipt, facts, measures)
        self._left_out[section.name] = {one.row for one in section.part.left_out}
        self._outliers_since[section.name] = {one.row: one.outlier_since for one in section.part.left_out if one.outlier_since is not None}
        self.parts.append(section.part)

    def find(self, part: str) -> MadePart | None:
        """What is known of a part that was taken."""
        return self._found.get(part)

    def screen(self, plan: Plan) -> Mapping[str, Collection[int]]:
        """See `MadeParts.screen`: the energies of what was left out are gone, so the file's word is taken; the gates judge what is kept."""
        found = {
            part: [row for row, since in self._outliers_since[part].items() if since <= len(plan.rounds)] for part in plan.planned_parts
        }
        return {part: rows for part, rows in found.items() if rows}

    def judge(self, plan: Plan, wanted: Mapping[str, int], position: PlanPosition) -> Judgement:
        """See `MadeParts.judge`; ValueError if a judgement is neither to be made nor remembered."""
        if any(self._left_out[part].intersection(planned.keep(wanted)) for part, planned in plan.planned_parts.items()):
            return self._remember(position)
        return super().judge(plan, wanted, position)

    def _remember(self, position: PlanPosition) -> Judgement:
        stretch = None if position.block is None else position.block + 1
        row = self._remembered.get((position.stage, position.attempt, position.wave, stretch, position.step))
        if row is None:
            raise ValueError(f"what the gates said in stage {position.stage} at the shares given up later is not in the file")
        attempts = [attempt for stage, attempt, _, _, step in self._remembered if (stage, step) == (position.stage, position.step)]
        went_on = max(attempts) > position.attempt
        return Judgement(tuple(row["reasons"]), is_for_good=not went_on)

    def make_whole_plan(self) -> Plan:
        """The plan to the end of the recipe, or to the last stage that the parts are of."""
        plan = self.make_plan()
        if plan.is_complete or not self.parts:
            return plan
        names = self.recipe.stage_names
        last = max((part.receipt.record.stage for part in self.parts), key=lambda name: names.index(name) if name in names else -1)
        return self.make_plan(last) if last in names else plan
