"""The forecast: the plan to its end at the rates of the parts so far, with the time and disk space that it takes."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from distillery.planning.ledger import Ledger
from distillery.planning.measures import PartMeasures
from distillery.planning.plan import Judgement, PartFacts, Plan, PlanPosition, Shard
from distillery.planning.planner import make_plan
from distillery.recipe.recipe import StageName
from distillery.schema.dataset import Forecast, Rate, RestForecast, StageForecast
from distillery.schema.report import VerdictWord

ASSUMPTION = "if services and labeller work at the same time, each with one request at a time; more replicas or cores make it shorter"


def describe_forecast(ledger: Ledger, until: StageName) -> Forecast:
    """Stages, shards, rates, and the time and disk that the rest takes; what is unknown is named. Reads the parts, writes nothing."""
    now = ledger.make_plan(until)
    rates = _find_rates(ledger, now)
    plan = _imagine(ledger, until, rates)
    rest = [shard for shard in plan.shards() if ledger.peek(shard.name) is None]
    unknown = sorted({shard.maker for shard in rest} - set(rates))
    n_parts = sum(1 for _ in plan.shards())
    return Forecast(
        dataset=ledger.recipe.name,
        until=until,
        sources={name: source.service for name, source in ledger.recipe.sources.items()},
        stages=[_describe_stage(ledger, plan, stage) for stage in _passed_stages(plan)],
        rates=rates,
        parts=n_parts,
        parts_done=n_parts - len(rest),
        rest=_add_up(ledger, plan, rest, rates),
        unknown=dict.fromkeys(unknown, "it has no finished part yet"),
        assumption=ASSUMPTION,
    )


def _find_rates(ledger: Ledger, plan: Plan) -> dict[str, Rate]:
    parts: dict[str, list[PartMeasures]] = {}
    for shard in plan.shards():
        if (entry := ledger.peek(shard.name)) is not None and not entry.facts.note:
            parts.setdefault(shard.maker, []).append(entry.measures)
    made = sum((tally.usable_by_maker for tally in plan.tallies.values()), Counter[str]())
    answered = sum((tally.answered for tally in plan.tallies.values()), Counter[str]())
    return {maker: _find_rate(own, made[maker] / answered[maker]) for maker, own in parts.items() if answered[maker]}


def _find_rate(parts: Iterable[PartMeasures], acceptance: float) -> Rate:
    requested, labelled, generating, labelling, payload = map(
        sum, zip(*((p.requested, p.labelled, p.generate_seconds, p.label_seconds, p.n_payload_bytes) for p in parts), strict=True)
    )
    return Rate(
        acceptance=acceptance,
        generate_seconds=generating / requested,
        label_seconds=labelling / max(labelled, 1),
        n_bytes=payload / max(labelled, 1),
    )


def _imagine(ledger: Ledger, until: StageName, rates: Mapping[str, Rate]) -> Plan:
    """The whole plan: parts that are there as they are, the others as the rates say, their gates passed."""
    imagined: list[str] = []

    def look_up(shard: Shard) -> PartFacts:
        facts = ledger.look_up(shard)
        if facts is None:
            imagined.append(shard.name)
            acceptance = rates[shard.maker].acceptance if shard.maker in rates else 1.0
            ids = tuple(f"{shard.name}/{k:04d}" for k in range(round(shard.n * acceptance)))
            facts = PartFacts(ids, ids)
        return facts

    def judge(plan: Plan, wanted: Mapping[str, int], position: PlanPosition) -> Judgement:
        return Judgement() if imagined else ledger.judge(plan, wanted, position)

    return make_plan(ledger.recipe, look_up, judge, until)


def _passed_stages(plan: Plan) -> list[StageName]:
    return list(dict.fromkeys(checkpoint.position.stage for checkpoint in plan.checkpoints))


def _describe_stage(ledger: Ledger, plan: Plan, stage: StageName) -> StageForecast:
    end = next(c for c in reversed(plan.checkpoints) if c.position.stage == stage and c.ends_stage)
    shards = [shard for shard in plan.shards() if shard.stage == stage]
    is_made = all(ledger.peek(shard.name) is not None for shard in shards)
    verdict: VerdictWord = "GO" if end.judgement.is_go else "NO-GO"
    return StageForecast(
        stage=stage,
        waves=end.n_waves,
        generative_fraction=end.fraction,
        n_structures=end.n_structures,
        wanted=dict(end.wanted),
        shards=Counter(shard.source for shard in shards),
        shards_done=sum(ledger.peek(shard.name) is not None for shard in shards),
        verdict=verdict if is_made else None,
        reasons=list(end.judgement.reasons),
    )


def _add_up(ledger: Ledger, plan: Plan, rest: Sequence[Shard], rates: Mapping[str, Rate]) -> RestForecast:
    """What the shards that are not there yet take, as far as their makers' rates are known."""
    generating: dict[str, float] = {}
    labelling = n_bytes = 0.0
    overhead = _find_overhead(ledger, plan)
    for shard in rest:
        if (rate := rates.get(shard.maker)) is not None:
            n_labelled = len(plan.planned_parts[shard.name].facts.ids)
            service = ledger.recipe.sources[shard.maker].service
            generating[service] = generating.get(service, 0.0) + rate.generate_seconds * shard.n
            labelling += rate.label_seconds * n_labelled
            n_bytes += rate.n_bytes * n_labelled + overhead
    kept = sum((tally.kept_by for tally in plan.tallies.values()), Counter[str]())
    return RestForecast(
        n_structures=sum(shard.n for shard in rest),
        generate_seconds=generating,
        label_seconds=labelling,
        seconds=max([labelling, *generating.values()]),
        parts_bytes=round(n_bytes),
        dataset_bytes=round(sum(rate.n_bytes * kept[maker] for maker, rate in rates.items())),
    )


def _find_overhead(ledger: Ledger, plan: Plan) -> float:
    """Bytes of a part's file beyond its structures, on average."""
    entries = [entry.measures for shard in plan.shards() if (entry := ledger.peek(shard.name)) is not None]
    return sum(part.n_bytes - part.n_payload_bytes for part in entries) / max(len(entries), 1)
