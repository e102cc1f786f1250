"""One dataset in the making: rounds of shards, each generated, curated and labelled, then merged and judged."""

import asyncio
import logging
from itertools import groupby
from pathlib import Path

from distillery.dataset.folder import CARD, DATASET, PAGE, list_parts, remove_unfinished_files
from distillery.errors import Conflict, Internal, NotFound, Unsupported
from distillery.planning.made_parts import MadeParts
from distillery.planning.plan import Judgement, Plan, Shard
from distillery.recipe.recipe import Recipe, StageName
from distillery.recipe.target import Target
from distillery.report.card.readme import write_card
from distillery.report.files import find_report, forget_report, write_checkpoints, write_report
from distillery.report.page.subprocess import write_page_aside
from distillery.report.report import make_report
from distillery.report.summary import describe_checkpoint, describe_checkpoints
from distillery.runtime.canonical_json import canonical_json
from distillery.runtime.locks import hold_lock, watch_owner
from distillery.runtime.machine import return_free_memory
from distillery.schema.dataset import FinalisingEvent, FinishedEvent, RoundEvent, ShardEvent
from distillery.schema.label import FinaliseRequest, PartSelection
from distillery.schema.problem import ProblemDocument
from distillery.schema.report import DiversityRecord, Report
from distillery.telemetry.spans import span
from gateway.clients import Clients
from gateway.concurrency import KeyedSemaphore, run_all
from gateway.curators import Curators
from gateway.preflight import Emit, Preflight
from gateway.settings import LABELLER, GatewaySettings
from gateway.shard_maker import ShardMaker

_log = logging.getLogger("distillery.gateway")


class Run:
    """Makes one dataset. `make` may be cancelled at any moment and called again: the parts are the record."""

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        text: str,
        clients: Clients,
        curators: Curators,
        settings: GatewaySettings,
        emit: Emit,
        target: Target,
    ) -> None:
        self.target = target
        self.made_parts = MadeParts(folder, recipe)
        self.preflight = Preflight(recipe, self.made_parts, clients, emit)
        self.plan = Plan(stage=recipe.stage_names[0])
        self.shard_maker = ShardMaker(self.made_parts, clients, curators, emit, self.preflight.missing_services)
        self.doing = ""
        """What else takes its time, for people."""
        self.is_refused = False
        """True if nothing was made, as teacher or services can't make it."""
        self._folder, self._recipe, self._text = folder, recipe, text
        self._clients, self._settings, self._emit = clients, settings, emit
        self._turns = KeyedSemaphore(self._count_turns)
        self._looking = asyncio.Lock()
        self._may_go_on = asyncio.Event()
        self._may_go_on.set()

    def pause(self) -> None:
        """Begin no further shard; those in work are finished."""
        self._may_go_on.clear()

    def go_on(self) -> None:
        """The opposite of `pause`."""
        self._may_go_on.set()

    def release(self) -> None:
        """Free the memory that making it took: a finished dataset is told of by its report."""
        self.made_parts.release()
        self.plan = Plan(stage=self.plan.stage)

    def list_needed(self) -> set[str]:
        """Whom it will ask in the round at hand: the services of its shards, and the labeller."""
        if self.plan.is_complete or not self.plan.rounds:
            return set()
        makers = {self._recipe.sources[shard.maker].service for shard in self.plan.rounds[-1]}
        return (makers - self.preflight.missing_services.keys()) | {LABELLER}

    async def make(self) -> Report:
        """Make what is missing, merge, judge; the report. Problem if it can't be done now."""
        await watch_owner(self._folder)
        with hold_lock(self._folder), span("run", dataset=self._recipe.name, teacher=self._recipe.teacher):
            await asyncio.to_thread(remove_unfinished_files, self._folder)
            self.doing = "reading the parts that there are" if await asyncio.to_thread(list_parts, self._folder) else ""
            self.plan = await asyncio.to_thread(self.made_parts.make_plan, self.target.last)
            self.doing = ""
            self._require_earlier_stages()
            if not self.plan.is_complete:
                forget_report(self._folder)
                await self._ask_makers()
            while not self.plan.is_complete:
                await self._make_round(self.plan.rounds[-1])
                await self._look_again()
            return await self._finish()

    async def _ask_makers(self) -> None:
        self.doing = f"waiting for teacher {self._recipe.teacher} and the services to load"
        try:
            with span("preflight"):
                await self.preflight.check_teacher()
                await self.preflight.check_sources(self.plan)
        except (NotFound, Unsupported):
            self.is_refused = not list_parts(self._folder)
            raise
        self.doing = ""

    async def _look_again(self) -> None:
        """Plan anew, and tell of the checkpoints that came."""
        async with self._looking:
            n_known = len(self.plan.checkpoints)
            self.plan = await asyncio.to_thread(self.made_parts.make_plan, self.target.last)
            fresh = self.plan.checkpoints[n_known:]
            if fresh:
                await asyncio.to_thread(write_checkpoints, self._folder, self.plan)
            for checkpoint in fresh:
                self._emit("verdict" if checkpoint.ends_stage else "checkpoint", describe_checkpoint(checkpoint))

    def _require_earlier_stages(self) -> None:
        """Conflict if one stage alone is asked for and those before it are not complete and GO."""
        names, only = self._recipe.stage_names, self.target.stage
        if only is None:
            return
        verdicts: dict[StageName, str] = {c.position.stage: _say(c.judgement) for c in self.plan.checkpoints if c.ends_stage}
        for stage in names[: names.index(only)]:
            found = verdicts.get(stage, "not complete")
            if found != "GO":
                raise Conflict(
                    f"stage {only} alone can't be made: stage {stage} is {found}; `--until {only}` makes what is missing before it"
                )

    async def _count_turns(self, maker: str) -> int:
        return self._settings.concurrency * await self._clients.count_replicas(self._recipe.sources[maker].service)

    async def _make_round(self, shards: list[Shard]) -> None:
        pending = await asyncio.to_thread(lambda: [shard for shard in shards if not self.made_parts.is_done(shard)])
        plan, n_pending = self.plan, len(pending)
        where = RoundEvent(
            round=shards[0].round, stage=plan.stage, wave=plan.wave, waves=plan.n_waves, shards=len(shards), pending=n_pending
        )
        self._emit("round", where)
        with span("round", dataset=self._recipe.name, **where.model_dump(exclude_none=True)):
            await run_all(self._make_block(list(block)) for _, block in groupby(pending, key=lambda shard: shard.block))

    async def _make_block(self, shards: list[Shard]) -> None:
        await run_all(self._make_in_turn(shard) for shard in shards)
        if shards[-1].block < self.plan.rounds[-1][-1].block:
            await self._look_again()

    async def _make_in_turn(self, shard: Shard) -> None:
        async with self._turns.take(shard.maker):
            await self._may_go_on.wait()
            receipt = await self.shard_maker.make(shard)
            await asyncio.to_thread(self.made_parts.find, shard.name)
            self._emit("shard", ShardEvent(shard=shard.name, source=shard.source, labelled=receipt.n_structures))

    async def _finish(self) -> Report:
        self.made_parts.refuse_strangers(self.plan)
        self._emit("finalising", FinalisingEvent(parts=len(list_parts(self._folder))))
        self.doing = "merging the parts into dataset.h5"
        leave_out, outliers = self.plan.leave_out, self.plan.outliers
        parts = tuple(PartSelection(part=s.name, leave_out=leave_out[s.name], outliers=outliers[s.name]) for s in self.plan.shards())
        request = FinaliseRequest(
            dataset=self._recipe.name,
            recipe=self._text,
            recipe_sha256=self._recipe.sha256,
            earlier_sha256=tuple(step.recipe.sha256 for step in self._recipe.steps),
            seed=self._recipe.seed,
            checkpoints=canonical_json([record.model_dump(mode="json") for record in describe_checkpoints(self.plan)]),
            parts=parts,
        )
        with span("merge", dataset=self._recipe.name, parts=len(parts)):
            receipt = await self._clients.finalise(request)
        await self._clients.wait_for_file(self._folder / DATASET)
        await asyncio.to_thread(write_checkpoints, self._folder, self.plan)
        report = await self._report(await asyncio.to_thread(make_report, self.made_parts, self.plan, receipt))
        self._emit("finished", FinishedEvent(verdict=report.verdict, stage=report.stage))
        return report

    async def _report(self, report: Report) -> Report:
        """Write page, report and card, unless they are there and say the same."""
        has_page = (self._folder / PAGE).is_file() or not self._settings.page
        if has_page and (known := await asyncio.to_thread(find_report, self._folder, report)) is not None:
            if not (self._folder / CARD).is_file():
                await asyncio.to_thread(write_card, self._folder / DATASET)
            return known
        forget_report(self._folder)
        if self._settings.page:
            report = report.model_copy(update={"diversity": await self._make_page()})
        await asyncio.to_thread(write_report, self._folder, report)
        await asyncio.to_thread(write_card, self._folder / DATASET)
        await asyncio.to_thread(return_free_memory)
        return report

    async def _make_page(self) -> DiversityRecord | None:
        """Write report.html; the diversity that it shows. A page that can't be made does not keep the verdict from anybody."""
        self.doing = "making report.html"
        try:
            with span("page", dataset=self._recipe.name):
                found = await write_page_aside(self._folder, self._folder / PAGE)
            return None if found is None else DiversityRecord.model_validate(found)
        except Internal as problem:
            _log.error("%s", problem.detail)
            self._emit("page", ProblemDocument.of(problem))
            return None


def _say(judgement: Judgement) -> str:
    return "GO" if judgement.is_go else f"NO-GO: {', '.join(judgement.reasons)}"
