"""One dataset in the making: rounds of shards, each generated, curated and labelled, then merged and judged."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

from distillery.dataset.folder import PAGE, list_parts, part_path
from distillery.errors import Conflict, Internal, Problem, Unavailable, Unsupported
from distillery.planning.ledger import Ledger
from distillery.planning.plan import Judgement, Plan, Shard
from distillery.recipe.recipe import Recipe, StageName
from distillery.recipe.source import Source
from distillery.recipe.target import Target
from distillery.report.files import find_report, forget_report, write_checkpoints, write_report
from distillery.report.page.subprocess import write_page_aside
from distillery.report.report import make_report
from distillery.report.summary import describe_checkpoint
from distillery.runtime.canonical_json import canonical_json
from distillery.runtime.locks import hold_lock
from distillery.schema.generate import GenerateRequest, PoolSlice
from distillery.schema.label import FinaliseRequest, PartSelection, Receipt, ShardRecord
from distillery.structures.identity import derive_seed
from distillery.structures.structure import Structure
from gateway.clients import Batch, Clients
from gateway.concurrency import Turns, run_all
from gateway.curate import curate
from gateway.preflight import Emit, Preflight
from gateway.settings import GatewaySettings

_log = logging.getLogger("distillery.gateway")


class Run:
    """Makes one dataset. `make` may be cancelled at any moment and called again: the parts are the ledger."""

    def __init__(
        self, folder: Path, recipe: Recipe, text: str, clients: Clients, settings: GatewaySettings, emit: Emit, target: Target
    ) -> None:
        self.target = target
        self.ledger = Ledger(folder, recipe)
        self.preflight = Preflight(recipe, self.ledger, clients, emit)
        self.plan = Plan(stage=recipe.stage_names[0])
        self.in_work: Counter[tuple[str, str]] = Counter()
        """Shards in work by (source, "generate" or "label")."""
        self.doing = ""
        """What else takes its time, for people."""
        self._folder, self._recipe, self._text = folder, recipe, text
        self._clients, self._settings, self._emit = clients, settings, emit
        self._turns = Turns(self._count_turns)
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
        self.ledger.release()
        self.plan = Plan(stage=self.plan.stage)

    async def make(self) -> dict[str, Any]:
        """Make what is missing, merge, judge; the report. Problem if it can't be done now."""
        with hold_lock(self._folder):
            self.plan = await asyncio.to_thread(self.ledger.make_plan, self.target.last)
            self._require_earlier_stages()
            if not self.plan.is_complete:
                forget_report(self._folder)
                self.doing = f"waiting for teacher {self._recipe.teacher} and the services to load"
                await self.preflight.check_teacher()
                await self.preflight.check_sources(self.plan)
                self.doing = ""
            while not self.plan.is_complete:
                await self._make_round(self.plan.rounds[-1])
                await self._look_again()
            return await self._finish()

    async def _look_again(self) -> None:
        """Plan anew, and tell of the checkpoints that came."""
        async with self._looking:
            n_known = len(self.plan.checkpoints)
            self.plan = await asyncio.to_thread(self.ledger.make_plan, self.target.last)
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
        pending = await asyncio.to_thread(lambda: [shard for shard in shards if not self.ledger.is_done(shard)])
        where = {"stage": self.plan.stage, "wave": self.plan.wave, "waves": self.plan.n_waves}
        self._emit("round", {"round": shards[0].round, **where, "shards": len(shards), "pending": len(pending)})
        await run_all(self._make_block(list(block)) for _, block in groupby(pending, key=lambda shard: shard.block))

    async def _make_block(self, shards: list[Shard]) -> None:
        await run_all(self._make_in_turn(shard) for shard in shards)
        if shards[-1].block < self.plan.rounds[-1][-1].block:
            await self._look_again()

    async def _make_in_turn(self, shard: Shard) -> None:
        async with self._turns.take(shard.maker):
            await self._may_go_on.wait()
            receipt = await self.make_shard(shard)
            if await asyncio.to_thread(self.ledger.find, shard.name) is None:
                raise Conflict(
                    f"the labeller says that it wrote {shard.name}, but {part_path(self._folder, shard.name)} is not there: "
                    f"gateway and labeller need the same data folder"
                )
            self._emit("shard", {"shard": shard.name, "source": shard.source, "labelled": receipt.n_structures})

    async def make_shard(self, shard: Shard) -> Receipt:
        """Have a shard generated, curate it and have it labelled, which makes its part."""
        maker = self._recipe.sources[shard.maker]
        with self._counted(shard, "generate"):
            batch = await self._generate(shard, maker)
        hashes = dict[str, str]()
        if isinstance(batch, Problem):
            structures: list[Structure] = []
            record = self._record(shard, maker, None, note=batch.detail, is_outage=maker.service in self.preflight.missing_services)
        else:
            elements = maker.elements or self._recipe.elements
            structures, rejected = await asyncio.to_thread(curate, batch.structures, elements, maker.atoms, hashes)
            record = self._record(shard, maker, batch).model_copy(update={"rejected": tuple(rejected)})
        with self._counted(shard, "label"):
            return await self._clients.label(self._recipe.name, shard.name, structures, record, [hashes[s.id] for s in structures])

    @contextmanager
    def _counted(self, shard: Shard, step: str) -> Iterator[None]:
        self.in_work[shard.source, step] += 1
        try:
            yield
        finally:
            self.in_work[shard.source, step] -= 1

    async def _generate(self, shard: Shard, maker: Source) -> Batch | Problem:
        """The batch, or why the maker can't be used and its fallback must.

        Only what can't pass leads to the fallback: the service was not there when the run began, or it refuses the request.
        An outage on the way stops the run, to be resumed; written into a part it would change the result for good.
        """
        can_fall_back = maker.fallback is not None and shard.maker == shard.source
        problem: Problem
        if maker.service in self.preflight.missing_services:
            problem = Unavailable(self.preflight.missing_services[maker.service])
        else:
            try:
                return await self._clients.generate(maker.service, self._request(shard, maker))
            except Unsupported as refusal:
                problem = refusal
        if not can_fall_back:
            raise problem
        self._emit("fallback", {"source": shard.source, "fallback": maker.fallback, "detail": problem.detail})
        return problem

    def _request(self, shard: Shard, maker: Source) -> GenerateRequest:
        low, high = maker.atoms or (None, None)
        return GenerateRequest(
            n=shard.n,
            seed=shard.seed,
            shard=shard.name,
            system=maker.system,
            elements=maker.elements or self._recipe.elements,
            min_atoms=low,
            max_atoms=high,
            perturb=maker.perturb or self._recipe.perturb,
            pool_slice=PoolSlice(seed=derive_seed(self._recipe.seed, shard.maker, 0), start=shard.start),
            options=maker.options,
        )

    def _record(self, shard: Shard, maker: Source, batch: Batch | None, note: str = "", is_outage: bool = False) -> ShardRecord:
        generated = batch.generated if batch else None
        return ShardRecord(
            recipe_sha256=self._recipe.sha256,
            stage=shard.stage,
            source=shard.source,
            service=maker.service,
            system=maker.system,
            seed=shard.seed,
            start=shard.start,
            round=shard.round,
            requested=shard.n,
            generated=len(batch.structures) if batch else 0,
            generate_seconds=batch.seconds if batch else 0.0,
            service_version=generated.version if generated else "",
            service_versions=generated.versions if generated else {},
            service_weights_sha256=generated.weights_sha256 if generated else None,
            service_licence=generated.licence if generated else "",
            service_rejected=generated.rejected if generated else {},
            note=note,
            is_outage=is_outage,
        )

    async def _finish(self) -> dict[str, Any]:
        self.ledger.refuse_strangers(self.plan)
        self._emit("finalising", {"parts": len(list_parts(self._folder))})
        self.doing = "merging the parts into dataset.h5"
        leave_out = self.plan.leave_out
        parts = tuple(PartSelection(part=s.name, leave_out=leave_out[s.name]) for s in self.plan.shards())
        request = FinaliseRequest(
            dataset=self._recipe.name,
            recipe=self._text,
            recipe_sha256=self._recipe.sha256,
            seed=self._recipe.seed,
            checkpoints=canonical_json([describe_checkpoint(checkpoint) for checkpoint in self.plan.checkpoints]),
            parts=parts,
        )
        receipt = await self._clients.finalise(request)
        await asyncio.to_thread(write_checkpoints, self._folder, self.plan)
        report = await self._report(await asyncio.to_thread(make_report, self.ledger, self.plan, receipt))
        self._emit("finished", {"verdict": report["verdict"], "stage": report["stage"]})
        return report

    async def _report(self, report: dict[str, Any]) -> dict[str, Any]:
        """Write page and report, unless they are there and say the same."""
        has_page = (self._folder / PAGE).is_file() or not self._settings.page
        if has_page and (known := await asyncio.to_thread(find_report, self._folder, report)) is not None:
            return known
        forget_report(self._folder)
        diversity = await self._make_page() if self._settings.page else None
        return await asyncio.to_thread(write_report, self._folder, report, diversity)

    async def _make_page(self) -> dict[str, Any] | None:
        """Write report.html; the diversity that it shows. A page that can't be made does not keep the verdict from anybody."""
        self.doing = "making report.html; the first on a machine takes up to a minute, as its arithmetic is compiled"
        try:
            return await write_page_aside(self._folder, self._folder / PAGE)
        except Internal as problem:
            _log.error("%s", problem.detail)
            self._emit("page", problem.body())
            return None


def _say(judgement: Judgement) -> str:
    return "GO" if judgement.is_go else f"NO-GO: {', '.join(judgement.reasons)}"
