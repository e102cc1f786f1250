"""The planner: recipe and parts so far decide the next round of shards, nothing else does.

A dataset is made in stages, a stage in waves, a wave in rounds. The first round of a wave asks every source for what it
owes by the wave's end. What was rejected, failed or came twice is asked for again in the next round, when every part of
this one exists; so neither timing nor kills can change the plan. What is there at the end of a wave is judged; at the end
of a stage the judgement decides whether the next one begins, whether other shares are tried, or whether all ends here.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from distillery.dataset.folder import name_part, name_stem
from distillery.planning.plan import Checkpoint, Judgement, PartFacts, Plan, PlannedPart, PlanPosition, Shard, SourceTally
from distillery.planning.seen import Seen
from distillery.planning.waves import cut_evenly, cut_waves, find_largest_wave
from distillery.recipe.recipe import CHECKPOINT_EVERY, Recipe, StageName
from distillery.recipe.source import Source
from distillery.runtime.scratch import Scratch
from distillery.schema.sample import Sample
from distillery.structures.identity import derive_seed, find_proposal
from distillery.structures.near_duplicates import Fingerprint, NearDuplicates
from distillery.structures.packed_texts import PackedTexts

_LEAST_ACCEPTANCE = 0.1
"""A round asks at most for ten times what is missing, however bad the last one went."""
_GROWTH = 20
"""What takes all structures is done again once they are a twentieth more, so that all of it together grows with them in a line."""
LookUp = Callable[[Shard], PartFacts | None]


Screen = Callable[[Plan], Mapping[str, Collection[int]]]
"""Which structures of the parts so far have energies that are far off, by part and index in it."""
_FIRST_PROBES, _LATER_PROBES, _PROBE_EVERY = 2, 1, 25
"""Structures of a source's first shard in a stage, and of every 25th after it, on which the teacher's physics is tried."""


class Judge(Protocol):
    """Judges the structures that count in the parts so far, where so many are wanted of each source."""

    def __call__(self, plan: Plan, wanted: Mapping[str, int], position: PlanPosition) -> Judgement: ...


def make_plan(recipe: Recipe, look_up: LookUp, judge: Judge, until: StageName = "full", screen: Screen = lambda plan: {}) -> Plan:
    """Plan stages, waves and rounds as far as `look_up` knows their parts, to the end of stage `until`.

    A dataset that has grown is planned as it did: what it grew from first, to where that had come, then what was asked for beyond it.
    """
    return ResumablePlan(recipe, look_up, judge, until, screen).go_on()


class ResumablePlan:
    """A plan in the making, to the end of stage `until`. It goes on where a part was missing: each part is counted once, however often."""

    def __init__(
        self,
        recipe: Recipe,
        look_up: LookUp,
        judge: Judge,
        until: StageName = "full",
        screen: Screen = lambda plan: {},
        scratch: Scratch | None = None,
    ) -> None:
        """`scratch` is empty and keeps what structures are compared by; without it that stays in memory."""
        self._planner = _Planner(recipe, look_up, judge, screen, scratch)
        self._steps = self._planner.plan_all(recipe, until)

    def go_on(self) -> Plan:
        """The plan as far as the parts that are there now allow. What a part or a judge raises ends it: begin another."""
        next(self._steps, None)
        return self._planner.plan.copy()


class _Planner:
    """A plan in the making: stage by stage, wave by wave, round by round. Its steps end at each part that is not there yet."""

    def __init__(self, recipe: Recipe, look_up: LookUp, judge: Judge, screen: Screen, scratch: Scratch | None) -> None:
        self.plan = Plan(tallies={name: SourceTally() for name in recipe.sources})
        self._recipe, self._look_up, self._judge, self._screen = recipe, look_up, judge, screen
        self._without: frozenset[str] = frozenset()
        self._seen = Seen()
        self._near_duplicates = NearDuplicates(scratch)
        self._n_screened = 0

    def plan_all(self, recipe: Recipe, until: StageName) -> Iterator[None]:
        """What the dataset grew from, step by step, then what this recipe asks for beyond it."""
        for step in recipe.steps:
            yield from self._plan_step(step.recipe, step.until, step.without)
            self.plan.step += 1
        yield from self._plan_step(recipe, until)
        self.plan.is_complete = True

    def _plan_step(self, recipe: Recipe, until: StageName, without: frozenset[str] = frozenset()) -> Iterator[None]:
        """Stages of a recipe, at its own shares from the first on; nothing is made of the sources `without`."""
        self._recipe, self._without, self.plan.attempt = recipe, without, 0
        for stage in recipe.stages_until(until):
            yield from self._plan_stage(stage)
            while self._may_rebalance():
                self.plan.attempt += 1
                yield from self._plan_stage(stage)
            if not self.plan.checkpoints[-1].judgement.is_go:
                break

    def _may_rebalance(self) -> bool:
        """True if other shares may turn a NO-GO; a pilot takes the same of every source, whatever the shares."""
        judgement = self.plan.checkpoints[-1].judgement
        is_left = self.plan.attempt + 1 < len(self._recipe.fractions)
        return is_left and self.plan.stage != "pilot" and not judgement.is_go and not judgement.is_for_good

    def _plan_stage(self, stage: StageName) -> Iterator[None]:
        """Make a stage's structures, wave after wave, and judge."""
        owed = self._recipe.stage_counts(stage, self.plan.attempt)
        target = {name: 0 if name in self._without else owed.get(name, 0) for name in self.plan.tallies}
        waves = cut_waves(self._made(), target, find_largest_wave(self._recipe, stage))
        self.plan.stage, self.plan.n_waves = stage, len(waves)
        for wave, goal in enumerate(waves, start=1):
            self.plan.wave, ends_stage = wave, wave == len(waves)
            n = sum(goal.values())
            is_screened = ends_stage or _has_grown(n, self._n_screened)
            self._n_screened = n if is_screened else self._n_screened
            yield from self._plan_rounds(goal, is_screened)
            self._add_checkpoint(goal, None, ends_stage=ends_stage)

    def _plan_rounds(self, goal: Mapping[str, int], is_screened: bool) -> Iterator[None]:
        """Rounds until every source has what it owes or can do no more."""
        for name, tally in self.plan.tallies.items():
            tally.count = goal[name]
        blocks = cut_waves(self._made(), goal, CHECKPOINT_EVERY if self._recipe.stages else None)
        while shards := self._next_round(blocks):
            self.plan.rounds.append(shards)
            yield from self._draw_round(shards, blocks)
            if is_screened:
                self._leave_out_outliers()
            blocks = [goal]

    def _made(self) -> dict[str, int]:
        return {name: tally.made for name, tally in self.plan.tallies.items()}

    def _draw_round(self, shards: Sequence[Shard], blocks: Sequence[Mapping[str, int]]) -> Iterator[None]:
        for shard, following in zip(shards, [*shards[1:], None], strict=True):
            while (part := self._look_up(shard)) is None:
                yield
            self._count_part(shard, part)
            if following is not None and following.block != shard.block:
                made = self._made()
                self._add_checkpoint(
                    {name: min(made[name], count) for name, count in blocks[shard.block].items()}, shard.block, ends_stage=False
                )

    def _count_part(self, shard: Shard, part: PartFacts) -> None:
        """Count a part's structures; first come in plan order, first counted."""
        tally = self.plan.tallies[shard.source]
        fresh = array("I", self._find_fresh(part))
        self.plan.planned_parts[shard.name] = PlannedPart(shard.source, PackedTexts(part.ids), tally.made, fresh, note=part.note)
        tally.answered[shard.maker] += shard.n
        tally.usable_by_maker[shard.maker] += len(fresh)
        tally.draws.append((shard.maker, len(fresh)))
        tally.duplicates += len(part.hashes) - len(fresh)
        if part.note:
            tally.unusable[shard.maker] = part.note

    def _find_fresh(self, part: PartFacts) -> list[int]:
        """Which structures came for the first time, not as an earlier one with noise either, by their index.

        What is made of one proposal, all of it in this part, is one in this.
        """
        is_new = self._seen.take([part.identify(k) for k in range(len(part.hashes))])
        new = [(k, find_proposal(part.ids[k])) for k in range(len(part.hashes)) if is_new[k]]
        known = dict[str, Fingerprint]()
        for k, proposal in new:
            if part.fingerprints and (own := part.fingerprints[k]) is not None:
                known.setdefault(proposal, own)
        repeats = {proposal for proposal, repeated in zip(known, self._near_duplicates.take(list(known.values())), strict=True) if repeated}
        return [k for k, proposal in new if proposal not in repeats]

    def _leave_out_outliers(self) -> None:
        """Leave out the structures whose energies are outliers by all parts so far; each source is asked for as many others."""
        plan, found, before, places = self.plan, self._screen(self.plan), Counter[str](), Counter[str]()
        for name, planned in plan.planned_parts.items() if found else ():
            tally, rows = plan.tallies[planned.source], set(found.get(name, ())) & set(planned.fresh)
            if rows:
                maker, n = tally.draws[places[planned.source]]
                tally.draws[places[planned.source]] = maker, n - len(rows)
                tally.usable_by_maker[maker] -= len(rows)
                tally.outliers += len(rows)
            if rows or planned.before != before[planned.source]:
                plan.planned_parts[name] = planned = replace(
                    planned,
                    before=before[planned.source],
                    fresh=array("I", (row for row in planned.fresh if row not in rows)),
                    outliers={**planned.outliers, **dict.fromkeys(sorted(rows), len(plan.rounds))},
                )
            before[planned.source] += len(planned.fresh)
            places[planned.source] += 1

    def _add_checkpoint(self, wanted: Mapping[str, int], block: int | None, *, ends_stage: bool) -> None:
        """Judge what there is at the end of a stage, and on the way there once it has grown by a twentieth: judging takes all there is."""
        plan, made = self.plan, self._made()
        n_structures = sum(min(made[name], count) for name, count in wanted.items())
        if not ends_stage and not _has_grown(n_structures, plan.checkpoints[-1].n_structures if plan.checkpoints else 0):
            return
        position = PlanPosition(plan.stage, plan.attempt, plan.wave, block, plan.step)
        checkpoint = Checkpoint(
            position=position,
            n_waves=plan.n_waves,
            fraction=self._recipe.fractions[plan.attempt],
            ends_stage=ends_stage,
            wanted=wanted,
            n_structures=n_structures,
            judgement=self._judge(plan, wanted, position),
        )
        plan.checkpoints.append(checkpoint)

    def _next_round(self, blocks: Sequence[Mapping[str, int]]) -> list[Shard]:
        planned = self._made()
        return [
            shard
            for block, goal in enumerate(blocks)
            for name, source in self._recipe.sources.items()
            for shard in self._next_shards(name, source, goal[name], planned, block)
        ]

    def _next_shards(self, name: str, source: Source, goal: int, planned: dict[str, int], block: int) -> list[Shard]:
        tally = self.plan.tallies[name]
        missing, planned[name] = goal - planned[name], max(planned[name], goal)
        maker = find_maker(name, source, tally)
        if missing <= 0 or maker is None:
            return []
        n = min(_ask_for(missing, tally, maker, self._recipe.find_sample(maker)), source.budget(tally.count) - tally.asked[maker])
        shards = list(self._cut(name, maker, n, block))
        tally.asked[maker] += n
        return shards

    def _cut(self, source: str, maker: str, n: int, block: int) -> Iterator[Shard]:
        stage, start = self.plan.stage, sum(tally.asked[maker] for tally in self.plan.tallies.values())
        stem = name_stem(stage, source, maker)
        indices = self.plan.tallies[source].shards
        for size in cut_evenly(n, self._recipe.shard_size):
            seed = derive_seed(self._recipe.seed, stem, indices[stem])
            yield Shard(
                name=name_part(stem, indices[stem]),
                stage=stage,
                source=source,
                maker=maker,
                n=size,
                seed=seed,
                start=start,
                round=len(self.plan.rounds),
                block=block,
                probes=_count_probes(indices[stem]),
                step=self.plan.step,
            )
            indices[stem] += 1
            start += size


def _has_grown(n: int, before: int) -> bool:
    return _GROWTH * (n - before) >= before


def _count_probes(index: int) -> int:
    if index == 0:
        return _FIRST_PROBES
    return 0 if index % _PROBE_EVERY else _LATER_PROBES


def find_maker(name: str, source: Source, tally: SourceTally) -> str | None:
    """The source that is asked next: itself while it is usable and within its attempts, then its fallback, then none."""
    makers = [name] if source.fallback is None else [name, source.fallback]
    for maker in makers:
        if maker not in tally.unusable and tally.asked[maker] < source.budget(tally.count):
            return maker
    return None


def _ask_for(missing: int, tally: SourceTally, maker: str, sample: Sample | None) -> int:
    """As many proposals as bring what is missing at the rate seen so far, each by as many frames as are kept of it."""
    if not tally.answered[maker]:
        return missing if sample is None else -(-missing // sample.keep)
    acceptance = max(tally.usable_by_maker[maker] / tally.answered[maker], _LEAST_ACCEPTANCE)
    return -int(-missing // acceptance)
