"""The forecast: the plan to its end at the rates of the parts so far, with the time and disk space that it takes."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from distillery.planning.made_parts import MadeParts
from distillery.planning.pace import Pace, measure_pace
from distillery.planning.part_measures import PartTotals
from distillery.planning.plan import Judgement, PartFacts, Plan, PlanPosition, Shard
from distillery.planning.planner import make_plan
from distillery.recipe.recipe import StageName
from distillery.schema.dataset import Forecast, Rate, RestForecast, StageForecast
from distillery.schema.report import VerdictWord

_AT_THE_END = "then the merge and report.html: under a minute for a few thousand structures"


@dataclass(frozen=True)
class Trial:
    """What a few structures of each source took, made to find that out and thrown away.

    n_structures  asked of every source
    part_bytes    of a part's file beyond its structures
    """

    rates: Mapping[str, Rate]
    n_structures: int
    part_bytes: float


def measure_trial(made_parts: MadeParts, n_structures: int) -> Trial:
    """The rates of a dataset that was made for them."""
    plan = made_parts.make_plan("full")
    return Trial(_find_rates(made_parts, plan), n_structures, _find_overhead(made_parts, plan))


def describe_forecast(made_parts: MadeParts, until: StageName, trial: Trial | None = None) -> Forecast:
    """Stages, shards, rates, and the time and disk that the rest takes; what is unknown is named. Reads the parts, writes nothing.

    trial  whose rates are taken for sources without parts
    """
    now = made_parts.make_plan(until)
    own = _find_rates(made_parts, now)
    tried = {name: rate for name, rate in (trial.rates if trial else {}).items() if name not in own}
    rates = own | tried
    plan = _imagine(made_parts, until, rates)
    rest = [shard for shard in plan.shards() if made_parts.peek(shard.name) is None]
    there = [shard for shard in plan.shards() if made_parts.peek(shard.name) is not None]
    pace = measure_pace(made_parts, [shard.name for shard in there])
    n_parts = sum(1 for _ in plan.shards())
    return Forecast(
        dataset=made_parts.recipe.name,
        until=until,
        sources={name: source.service for name, source in made_parts.recipe.sources.items()},
        stages=[_describe_stage(made_parts, plan, stage) for stage in _passed_stages(plan)],
        rates=rates,
        parts=n_parts,
        parts_done=n_parts - len(rest),
        rest=_add_up(made_parts, plan, rest, rates, pace, _find_overhead(made_parts, plan) or (trial.part_bytes if trial else 0.0)),
        unknown={maker: _explain_unknown(made_parts, there, maker) for maker in sorted({shard.maker for shard in rest} - set(rates))},
        assumption=_explain_time(pace) + (f"; {_explain_trial(tried, trial)}" if trial and tried else ""),
    )


def _explain_unknown(made_parts: MadeParts, there: Sequence[Shard], maker: str) -> str:
    notes = {shard.name: entry.note for shard in there if shard.maker == maker and (entry := made_parts.peek(shard.name)) is not None}
    return next((f"its parts are empty: {note}" for note in notes.values()), "none of its parts is there yet")


def _explain_time(pace: Pace) -> str:
    """What the time left is based on."""
    if not pace.is_known:
        return f"services and labeller at work one after another, which is the longest it takes; {_AT_THE_END}"
    start = f", and {pace.start:.0f} s to start" if pace.start else ""
    return f"by the clock of {pace.n_parts} parts so far: {pace.clock:.0f} s for {pace.work:.0f} s of work{start}; {_AT_THE_END}"


def _explain_trial(tried: Iterable[str], trial: Trial) -> str:
    """Which rates are those of a trial."""
    return (
        f"the rates of {', '.join(tried)} are of {trial.n_structures} structures each, made for this forecast with the first calls of "
        "services and teacher among them: rather too long than too short"
    )


def _find_rates(made_parts: MadeParts, plan: Plan) -> dict[str, Rate]:
    parts: dict[str, list[PartTotals]] = {}
    for shard in plan.shards():
        if (entry := made_parts.peek(shard.name)) is not None and not entry.note:
            parts.setdefault(shard.maker, []).append(entry.totals)
    made = sum((tally.usable_by_maker for tally in plan.tallies.values()), Counter[str]())
    answered = sum((tally.answered for tally in plan.tallies.values()), Counter[str]())
    return {maker: _find_rate(own, _find_acceptance(own, made[maker], answered[maker])) for maker, own in parts.items()}


def _find_acceptance(parts: Sequence[PartTotals], made: int, answered: int) -> float:
    """Of the parts up to the first that is missing, as twins are told there; else of those behind it."""
    return made / answered if answered else sum(part.labelled for part in parts) / sum(part.requested for part in parts)


def _find_rate(parts: Iterable[PartTotals], acceptance: float) -> Rate:
    rows = ((p.requested, p.labelled, p.generate_seconds, p.label_seconds, p.n_payload_bytes, p.n_calls) for p in parts)
    requested, labelled, generating, labelling, payload, calls = map(sum, zip(*rows, strict=True))
    return Rate(
        acceptance=acceptance,
        generate_seconds=generating / requested,
        label_seconds=labelling / max(labelled, 1),
        n_bytes=payload / max(labelled, 1),
        n_calls=calls / requested,
    )


def _imagine(made_parts: MadeParts, until: StageName, rates: Mapping[str, Rate]) -> Plan:
    """The whole plan: parts that are there as they are, the others as the rates say, their gates passed."""
    imagined: list[str] = []

    def look_up(shard: Shard) -> PartFacts:
        facts = made_parts.look_up(shard)
        if facts is None:
            imagined.append(shard.name)
            acceptance = rates[shard.maker].acceptance if shard.maker in rates else _count_frames(made_parts, shard.maker)
            ids = tuple(f"{shard.name}/{k:04d}" for k in range(round(shard.n * acceptance)))
            facts = PartFacts(ids, ids)
        return facts

    def judge(plan: Plan, wanted: Mapping[str, int], position: PlanPosition) -> Judgement:
        return Judgement() if imagined else made_parts.judge(plan, wanted, position)

    return make_plan(made_parts.recipe, look_up, judge, until, made_parts.screen)


def _count_frames(made_parts: MadeParts, maker: str) -> int:
    sample = made_parts.recipe.find_sample(maker)
    return 1 if sample is None else sample.keep


def _count_calls(made_parts: MadeParts, maker: str) -> int:
    """Of the teacher for a structure that is asked for, at most."""
    sample = made_parts.recipe.find_sample(maker)
    return 1 if sample is None else sample.n_calls


def _passed_stages(plan: Plan) -> list[StageName]:
    return list(dict.fromkeys(checkpoint.position.stage for checkpoint in plan.checkpoints))


def _describe_stage(made_parts: MadeParts, plan: Plan, stage: StageName) -> StageForecast:
    end = next(c for c in reversed(plan.checkpoints) if c.position.stage == stage and c.ends_stage)
    shards = [shard for shard in plan.shards() if shard.stage == stage]
    is_made = all(made_parts.peek(shard.name) is not None for shard in shards)
    verdict: VerdictWord = "GO" if end.judgement.is_go else "NO-GO"
    return StageForecast(
        stage=stage,
        waves=end.n_waves,
        generative_fraction=end.fraction,
        n_structures=end.n_structures,
        wanted=dict(end.wanted),
        shards=Counter(shard.source for shard in shards),
        shards_done=sum(made_parts.peek(shard.name) is not None for shard in shards),
        verdict=verdict if is_made else None,
        reasons=list(end.judgement.reasons),
    )


def _add_up(
    made_parts: MadeParts, plan: Plan, rest: Sequence[Shard], rates: Mapping[str, Rate], pace: Pace, overhead: float
) -> RestForecast:
    """What the shards that are not there yet take, as far as their makers' rates are known.

    overhead  of a part's file beyond its structures, bytes
    """
    generating: dict[str, float] = {}
    labelling = n_bytes = n_calls = 0.0
    for shard in rest:
        n_calls += shard.n * (rates[shard.maker].n_calls if shard.maker in rates else _count_calls(made_parts, shard.maker))
        if (rate := rates.get(shard.maker)) is not None:
            n_labelled = len(plan.planned_parts[shard.name].ids)
            service = made_parts.recipe.sources[shard.maker].service
            generating[service] = generating.get(service, 0.0) + rate.generate_seconds * shard.n
            labelling += rate.label_seconds * n_labelled
            n_bytes += rate.n_bytes * n_labelled + overhead
    kept = sum((tally.kept_by for tally in plan.tallies.values()), Counter[str]())
    return RestForecast(
        n_structures=sum(shard.n for shard in rest),
        generate_seconds=generating,
        n_calls=round(n_calls),
        label_seconds=labelling,
        seconds=_find_seconds(labelling + sum(generating.values()), pace),
        parts_bytes=round(n_bytes),
        dataset_bytes=round(sum(rate.n_bytes * kept[maker] for maker, rate in rates.items())),
    )


def _find_seconds(work: float, pace: Pace) -> float:
    """How long so much work takes by the clock, as the parts so far did; one after another where that is not known."""
    return pace.start + work * pace.clock / pace.work if work and pace.is_known else work


def _find_overhead(made_parts: MadeParts, plan: Plan) -> float:
    """Bytes of a part's file beyond its structures, on average."""
    entries = [entry.totals for shard in plan.shards() if (entry := made_parts.peek(shard.name)) is not None]
    return sum(part.n_bytes - part.n_payload_bytes for part in entries) / max(len(entries), 1)
