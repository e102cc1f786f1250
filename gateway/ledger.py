"""The ledger: what the parts on disk say. Parts never change, so each is read and verified once."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contract.messages import Receipt
from contract.parts import Part, corrupt, list_parts, part_path, read_part
from contract.problems import Conflict
from gateway.plan import PartFacts, Plan, Shard, make_plan
from gateway.recipe import Recipe


@dataclass(frozen=True)
class Entry:
    """What stays in memory of a part."""

    receipt: Receipt
    facts: PartFacts


class Ledger:
    """The parts of one dataset."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.folder = folder
        self.recipe = recipe
        self._entries: dict[str, Entry] = {}

    def find(self, part: str) -> Entry | None:
        """The entry of a part, None if there is none yet; CorruptPart or Conflict if it is not ours."""
        if part not in self._entries and part_path(self.folder, part).exists():
            self._entries[part] = self._take(part, self.read(part))
        return self._entries.get(part)

    def peek(self, part: str) -> Entry | None:
        """The entry of a part that was found before; reads nothing."""
        return self._entries.get(part)

    def read(self, part: str) -> Part:
        """A whole part, verified."""
        return read_part(part_path(self.folder, part))

    def make_plan(self) -> Plan:
        """The plan as far as the parts allow."""
        return make_plan(self.recipe, self._look_up)

    def refuse_strangers(self, plan: Plan) -> None:
        """Conflict if a finished plan does not account for every part in the folder."""
        strangers = sorted(set(list_parts(self.folder)) - {shard.name for shard in plan.shards()})
        if strangers:
            raise Conflict(f"{self.folder} holds parts that this recipe does not ask for: {', '.join(strangers[:5])}; move them away")

    def is_done(self, shard: Shard) -> bool:
        """True if the shard's part exists."""
        return self.find(shard.name) is not None

    def _look_up(self, part: str) -> PartFacts | None:
        entry = self.find(part)
        return None if entry is None else entry.facts

    def _take(self, name: str, part: Part) -> Entry:
        record, path = part.receipt.record, part_path(self.folder, name)
        if part.receipt.part != name:
            raise corrupt(path, f"it holds part {part.receipt.part}")
        if record.recipe_sha256 != self.recipe.sha256:
            raise Conflict(
                f"{path} was made from another recipe ({record.recipe_sha256[:12]}, not {self.recipe.sha256[:12]}); move it away"
            )
        if part.receipt.teacher.name != self.recipe.teacher:
            raise Conflict(f"{path} was labelled by {part.receipt.teacher.name}, the recipe wants {self.recipe.teacher}; move it away")
        ids = part.arrays["provenance/id"]
        if len(np.unique(ids)) != len(ids):
            raise corrupt(path, "it holds an id twice")
        return Entry(part.receipt, PartFacts(tuple(ids), tuple(part.arrays["provenance/structure_hash"]), record.note))
