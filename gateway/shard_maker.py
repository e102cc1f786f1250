"""Making one shard: its structures are generated, curated and labelled, which makes its part."""

import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

from distillery.dataset.folder import part_path
from distillery.errors import Conflict, Problem, Unavailable, Unsupported
from distillery.planning.made_parts import MadeParts
from distillery.planning.plan import Shard
from distillery.recipe.requests import make_request
from distillery.recipe.source import Source
from distillery.runtime.trace import Trace, traced
from distillery.schema.dataset import FallbackEvent
from distillery.schema.factory import WorkRecord
from distillery.schema.generate import GenerateRequest, PoolSlice
from distillery.schema.label import Receipt, ShardRecord
from distillery.structures.identity import derive_seed
from distillery.telemetry.spans import join_trace, span
from gateway.clients import Batch, Clients
from gateway.curate import Curated
from gateway.curators import Curators
from gateway.preflight import Emit
from gateway.settings import LABELLER

_log = logging.getLogger("distillery.gateway")


class ShardMaker:
    """Makes the shards of one dataset.

    missing_services  those that the dataset does without, and why; their sources' fallbacks step in
    in_work           shards in work by (source, "generate" or "label")
    at_work           the same by shard: what is done, by whom and since when
    """

    def __init__(
        self, made_parts: MadeParts, clients: Clients, curators: Curators, emit: Emit, missing_services: Mapping[str, str]
    ) -> None:
        """`made_parts` is of the dataset that the parts are written for; the labeller writes them into a folder named as its recipe."""
        self.missing_services = missing_services
        self.in_work: Counter[tuple[str, str]] = Counter()
        self.at_work: dict[str, WorkRecord] = {}
        self._folder, self._recipe, self._emit = made_parts.folder, made_parts.recipe, emit
        self._clients, self._curators = clients, curators

    async def make(self, shard: Shard) -> Receipt:
        """The receipt of the shard's part, which is there then; Conflict if the labeller writes elsewhere."""
        dataset = self._recipe.name
        with (
            span("shard", is_apart=True, dataset=dataset, shard=shard.name, source=shard.source, stage=shard.stage, requested=shard.n),
            traced(join_trace(Trace(dataset=dataset, shard=shard.name))) as trace,
        ):
            return await self._make(shard, trace)

    async def _make(self, shard: Shard, trace: Trace) -> Receipt:
        began = time.monotonic()
        maker = self._recipe.sources[shard.maker]
        with self._counted(shard, "generate", maker.service, trace):
            batch = await self._generate(shard, maker)
        curated = Curated()
        if isinstance(batch, Problem):
            record = self._record(shard, maker, None, note=batch.detail, is_outage=maker.service in self.missing_services)
        else:
            elements = maker.elements or self._recipe.elements
            with span("curate", structures=len(batch.structures)):
                curated = await self._curators.curate(batch.structures, elements, maker.atoms)
            told = {"rejected": tuple(curated.rejected), "fingerprints": curated.fingerprints}
            record = self._record(shard, maker, batch).model_copy(update=told)
        with self._counted(shard, "label", LABELLER, trace):
            receipt = await self._label(shard.name, curated, record)
        _log.info("made %s: %d structures in %.1f s", shard.name, receipt.n_structures, time.monotonic() - began)
        return receipt

    async def _label(self, name: str, curated: Curated, record: ShardRecord) -> Receipt:
        """The receipt of a part that can be seen here, asked for a second time if it can't; Conflict if it never can."""
        path = part_path(self._folder, name)
        for _ in range(2):
            receipt = await self._clients.label(self._recipe.name, name, curated.kept, record, curated.hashes)
            if await self._clients.wait_for_file(path):
                return receipt
        raise Conflict(
            f"the labeller says that it wrote {name}, but {path} is not there: it must write to the same data folder as the gateway"
        )

    @contextmanager
    def _counted(self, shard: Shard, step: Literal["generate", "label"], service: str, trace: Trace) -> Iterator[None]:
        self.in_work[shard.source, step] += 1
        self.at_work[shard.name] = WorkRecord(
            shard=shard.name, source=shard.source, step=step, service=service, trace=trace.id, since=time.time()
        )
        try:
            with span(step, service=service):
                yield
        finally:
            self.in_work[shard.source, step] -= 1
            del self.at_work[shard.name]

    async def _generate(self, shard: Shard, maker: Source) -> Batch | Problem:
        """The batch, or why the maker can't be used and its fallback must.

        Only what can't pass leads to the fallback: the service was not there when the run began, or it refuses the request.
        An outage on the way stops the run, to be resumed; written into a part it would change the result for good.
        """
        can_fall_back = maker.fallback is not None and shard.maker == shard.source
        problem: Problem
        if maker.service in self.missing_services:
            problem = Unavailable(self.missing_services[maker.service])
        else:
            try:
                return await self._clients.generate(maker.service, self._request(shard))
            except Unsupported as refusal:
                problem = refusal
        if not can_fall_back:
            raise problem
        self._emit("fallback", FallbackEvent(source=shard.source, fallback=maker.fallback, detail=problem.detail))
        return problem

    def _request(self, shard: Shard) -> GenerateRequest:
        pool_slice = PoolSlice(seed=derive_seed(self._recipe.seed, shard.maker, 0), start=shard.start)
        return make_request(self._recipe, shard.maker, shard.n, shard.seed, shard.name, pool_slice)

    def _record(self, shard: Shard, maker: Source, batch: Batch | None, note: str = "", is_outage: bool = False) -> ShardRecord:
        generated = batch.generated if batch else None
        return ShardRecord(
            recipe_sha256=self._recipe.at(shard.step).sha256,
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
            service_named=generated.named if generated else (),
            note=note,
            is_outage=is_outage,
            probes=shard.probes,
            limits=self._recipe.find_limits(shard.source),
            sample=self._recipe.find_sample(shard.maker),
            labels=self._recipe.labels,
            hessian=self._recipe.hessians,
            elements=self._recipe.elements,
        )
