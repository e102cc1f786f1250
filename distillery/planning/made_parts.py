"""What has been made of a dataset: its parts on disk. Parts never change, so each is read, verified and measured once."""

import json
import pickle
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distillery.dataset.folder import list_parts, part_path, split_part_name
from distillery.dataset.layout import Arrays
from distillery.dataset.parts import Part, corrupt, read_part
from distillery.errors import Conflict
from distillery.planning.energy_fit import find_energy_outliers
from distillery.planning.gates import judge, sum_up
from distillery.planning.measures import Measures, gather_measures
from distillery.planning.part_measures import PartMeasures, PartTotals, measure_part
from distillery.planning.plan import Judgement, PartFacts, Plan, PlanPosition, Shard
from distillery.planning.planner import ResumablePlan
from distillery.recipe.recipe import Recipe, StageName
from distillery.runtime.machine import return_free_memory
from distillery.runtime.scratch import Scratch, ScratchFile
from distillery.schema.label import Receipt, ShardRecord, TeacherCard
from distillery.structures.identity import find_place
from distillery.structures.near_duplicates import Fingerprint


@dataclass(frozen=True)
class MadePart:
    """What stays in memory of a part; what grows with its structures lies in a file, to be read when it is asked for.

    note, is_outage  see `PartFacts`
    """

    seed: int
    start: int
    teacher: TeacherCard
    totals: PartTotals
    note: str
    is_outage: bool
    _scratch: Scratch
    _facts: tuple[int, int]
    _measures: tuple[int, int]

    @property
    def facts(self) -> PartFacts:
        """What the plan needs to know of it."""
        facts: PartFacts = pickle.loads(self._scratch.read(*self._facts))
        return facts

    @property
    def measures(self) -> PartMeasures:
        """What gates need of its structures."""
        measures: PartMeasures = pickle.loads(self._scratch.read(*self._measures))
        return measures


class MadeParts:
    """The parts of one dataset, the plan as far as they allow, and what the gates say of them."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.folder = folder
        self.recipe = recipe
        self._known_sha256 = recipe.known_sha256
        self._found: dict[str, MadePart] = {}
        self._teachers: list[TeacherCard] = []
        self._scratch: Scratch | None = None
        self._plans: dict[StageName, ResumablePlan] = {}
        self._planning = threading.Lock()

    def find(self, part: str) -> MadePart | None:
        """What is known of a part, None if there is none yet; CorruptPart or Conflict if it is not ours."""
        path = part_path(self.folder, part)
        if part not in self._found and path.exists():
            self._found[part] = self._take(path, part, self.read(part))
        return self._found.get(part)

    def release(self) -> None:
        """Free the memory; what is asked for again is read again."""
        self._found.clear()
        self._teachers.clear()
        self._plans, self._scratch = {}, None

    def lost_a_part(self) -> bool:
        """True if a part that was found is there no more."""
        return not self._found.keys() <= set(list_parts(self.folder))

    @property
    def teacher(self) -> TeacherCard | None:
        """Who labelled the parts found so far; None if there are none."""
        return next((entry.teacher for entry in tuple(self._found.values())), None)  # a copy: other threads find parts meanwhile

    def peek(self, part: str) -> MadePart | None:
        """What is known of a part that was found before; reads nothing."""
        return self._found.get(part)

    def read(self, part: str) -> Part:
        """A whole part, verified."""
        return read_part(part_path(self.folder, part))

    def make_plan(self, until: StageName = "full") -> Plan:
        """The plan as far as the parts allow, to the end of a stage."""
        with self._planning:
            plans = self._plans
            resumable = plans.pop(until, None) or self._begin_plan(until)
            plan = resumable.go_on()
            plans[until] = resumable
        for shard in plan.rounds[-1] if plan.rounds else ():  # behind the first gap too: they are done and their services have begun
            self._find_answer(shard)
        return plan

    def _begin_plan(self, until: StageName) -> ResumablePlan:
        return ResumablePlan(self.recipe, self.look_up, self.judge, until, self.screen, ScratchFile(self.folder))

    def measure(self, plan: Plan, wanted: Mapping[str, int]) -> Measures:
        """The measures of the structures that count where so many are wanted of each source."""
        return self.gather(plan, wanted, {part: planned.keep(wanted) for part, planned in plan.planned_parts.items()})

    def gather(self, plan: Plan, wanted: Mapping[str, int], kept: Mapping[str, Sequence[int]]) -> Measures:
        """The measures of the structures with these indices in their parts, and of what the plan leaves out."""
        measures = gather_measures(((self._found[part].measures, own) for part, own in kept.items()), self.recipe.sources)
        for name, tally in plan.tallies.items():
            surplus = max(tally.made - wanted[name], 0)
            losses = {"dataset: duplicate": tally.duplicates, "dataset: surplus": surplus, "dataset: energy_outlier": tally.outliers}
            measures.sources[name].rejected.update(losses)
        return measures

    def refuse_strangers(self, plan: Plan) -> None:
        """Conflict if a finished plan does not account for every part in the folder."""
        strangers = sorted(set(list_parts(self.folder)) - {shard.name for shard in plan.shards()})
        if not strangers:
            return
        names = self.recipe.stage_names
        later = [stage for stage in names[names.index(plan.stage) + 1 :] if any(split_part_name(part)[0] == stage for part in strangers)]
        if later:
            raise Conflict(
                f"{self.folder} holds parts of stage {later[-1]}, but by the recipe's gates the dataset ends with stage {plan.stage}: "
                f"{', '.join(plan.checkpoints[-1].judgement.reasons)}; relax the gates, or move the parts of later stages away"
            )
        raise Conflict(f"{self.folder} holds parts that this recipe does not ask for: {', '.join(strangers[:5])}; move them away")

    def is_done(self, shard: Shard) -> bool:
        """True if the shard's part exists."""
        return self.find(shard.name) is not None

    def look_up(self, shard: Shard) -> PartFacts | None:
        """What the plan needs to know of a shard's part, None if there is none yet; Conflict if it came of another request."""
        entry = self._find_answer(shard)
        return None if entry is None else entry.facts

    def _find_answer(self, shard: Shard) -> MadePart | None:
        entry = self.find(shard.name)
        if entry is not None and (entry.totals.requested, entry.seed, entry.start) != (shard.n, shard.seed, shard.start):
            raise Conflict(
                f"{part_path(self.folder, shard.name)} holds the answer to a request for {entry.totals.requested} structures "
                f"with seed {entry.seed} after {entry.start} others; the plan asks for {shard.n} with seed {shard.seed} after "
                f"{shard.start}: move it away"
            )
        return entry

    def judge(self, plan: Plan, wanted: Mapping[str, int], position: PlanPosition) -> Judgement:
        """What the gates say at a position, by the recipe of its step."""
        judgement = sum_up(judge(self.measure(plan, wanted), self.recipe.at(position.step), position.stage, wanted))
        return_free_memory()
        return judgement

    def screen(self, plan: Plan) -> Mapping[str, Collection[int]]:
        """The structures whose energies are far off their source's by elements, of parts that are there (forecasts imagine some)."""
        kept = {part: planned.fresh for part, planned in plan.planned_parts.items() if part in self._found}
        limits = {name: self.recipe.find_limits(name).energy for name in self.recipe.sources}
        return find_energy_outliers(((part, self._found[part].measures, rows) for part, rows in kept.items()), limits)

    def _take(self, path: Path, name: str, part: Part) -> MadePart:
        record = part.receipt.record
        if part.receipt.part != name:
            raise corrupt(path, f"it holds part {part.receipt.part}")
        if record.recipe_sha256 not in self._known_sha256:
            raise Conflict(
                f"{path} was made from another recipe ({record.recipe_sha256[:12]}, not {self.recipe.sha256[:12]}): put recipe.yaml back "
                "as it was if somebody changed it there, else move the part away; a dataset is changed by handing in another recipe"
            )
        if part.receipt.teacher.name != self.recipe.teacher:
            raise Conflict(f"{path} was labelled by {part.receipt.teacher.name}, the recipe wants {self.recipe.teacher}; move it away")
        if self.teacher is not None and self.teacher.identity != part.receipt.teacher.identity:
            raise Conflict(
                f"{path} was labelled by {part.receipt.teacher.describe()}, other parts by {self.teacher.describe()}; "
                "a dataset has one teacher: move the parts of the wrong teacher away, then resume"
            )
        ids = part.arrays["provenance/id"]
        if len(np.unique(ids)) != len(ids):
            raise corrupt(path, "it holds an id twice")
        facts = PartFacts(
            tuple(ids),
            tuple(part.arrays["provenance/structure_hash"]),
            record.note,
            record.is_outage,
            find_proposals(part.arrays),
            read_fingerprints(record, ids),
        )
        return self._keep(part.receipt, facts, measure_part(part, path.stat().st_size))

    def _keep(self, receipt: Receipt, facts: PartFacts, measures: PartMeasures) -> MadePart:
        """The entry of a part, all that grows with its structures put aside."""
        if receipt.teacher not in self._teachers:
            self._teachers.append(receipt.teacher)
        scratch = self._scratch = ScratchFile(self.folder) if self._scratch is None else self._scratch
        return MadePart(
            seed=receipt.record.seed,
            start=receipt.record.start,
            teacher=self._teachers[self._teachers.index(receipt.teacher)],
            totals=measures.add_up(),
            note=facts.note,
            is_outage=facts.is_outage,
            _scratch=scratch,
            _facts=_put_aside(scratch, facts),
            _measures=_put_aside(scratch, measures),
        )


def _put_aside(scratch: Scratch, content: PartFacts | PartMeasures) -> tuple[int, int]:
    """Its place in the scratch, and its bytes."""
    pickled = pickle.dumps(content, pickle.HIGHEST_PROTOCOL)
    return scratch.append(pickled), len(pickled)


def find_proposals(arrays: Arrays) -> tuple[str, ...]:
    """Of each structure that a teacher made the proposal's hash and the frame's place; empty if none of them was."""
    samples = [json.loads(origin).get("sample") for origin in arrays["provenance/origin"]]
    return tuple(f"{sample['parent_hash']}/{sample['frame']}" for sample in samples if sample) if any(samples) else ()


def read_fingerprints(record: ShardRecord, ids: Iterable[str]) -> tuple[Fingerprint | None, ...]:
    """The fingerprint of each structure's proposal; None where a part has none or nonsense."""
    known = {place: _read_fingerprint(text) for place, text in record.fingerprints.items()}
    return tuple(known.get(find_place(id)) for id in ids)


def _read_fingerprint(text: str) -> Fingerprint | None:
    try:
        return Fingerprint.from_text(text)
    except ValueError:
        return None


class PartsOfDatasets:
    """The parts of each dataset by its folder, kept so that they are read once."""

    def __init__(self) -> None:
        self._known: dict[Path, MadeParts] = {}

    def find(self, folder: Path, recipe: Recipe) -> MadeParts:
        """The parts of a dataset; read anew if the recipe, gates included, is another or a part was taken away."""
        known = self._known.get(folder)
        if known is None or known.recipe != recipe or known.lost_a_part():
            known = self._known[folder] = MadeParts(folder, recipe)
        return known

    def release(self, folder: Path) -> None:
        """Forget a dataset that is finished: its report tells all that is asked of it."""
        self._known.pop(folder, None)
