"""Summary of a dataset from its parts: stages, checkpoints, scenario, sources."""

from collections import Counter
from collections.abc import Iterable, Mapping

from distillery.planning.made_parts import MadeParts
from distillery.planning.part_measures import PartTotals
from distillery.planning.plan import Checkpoint, Plan, Shard, SourceTally
from distillery.schema.dataset import InWork, Progress, SourceProgress
from distillery.schema.report import CheckpointRecord, FallbackUse, Scenario


def describe_checkpoint(checkpoint: Checkpoint) -> CheckpointRecord:
    """A checkpoint, to be told and written."""
    position, judgement = checkpoint.position, checkpoint.judgement
    return CheckpointRecord(
        stage=position.stage,
        attempt=position.attempt,
        generative_fraction=checkpoint.fraction,
        wave=position.wave,
        waves=checkpoint.n_waves,
        stretch=None if position.block is None else position.block + 1,
        ends_stage=checkpoint.ends_stage,
        step=position.step,
        n_structures=checkpoint.n_structures,
        wanted=dict(checkpoint.wanted),
        verdict="GO" if judgement.is_go else "NO-GO",
        reasons=list(judgement.reasons),
    )


def describe_checkpoints(plan: Plan) -> list[CheckpointRecord]:
    """All checkpoints, in order."""
    return [describe_checkpoint(checkpoint) for checkpoint in plan.checkpoints]


def describe_stages(plan: Plan) -> list[CheckpointRecord]:
    """How every stage ended, each attempt at its shares a row."""
    return [record for record in describe_checkpoints(plan) if record.ends_stage]


def describe_scenario(plan: Plan) -> Scenario:
    """Whether every source made its own structures (A), or which fallbacks were used and why (B)."""
    uses = [
        FallbackUse(source=name, by=maker, n_structures=tally.kept_by[maker], reason=_explain_fallback(name, tally))
        for name, tally in plan.tallies.items()
        for maker in tally.kept_by
        if maker != name
    ]
    text = "; ".join(f"{row.by} for {row.source} ({row.reason})" for row in uses)
    return Scenario(
        name="B" if uses else "A",
        text=f"B: {text}" if uses else "A: every source made its own structures",
        stand_ins=uses,
        unusable={name: dict(tally.unusable) for name, tally in plan.tallies.items() if tally.unusable},
    )


def _explain_fallback(name: str, tally: SourceTally) -> str:
    if name in tally.unusable:
        return tally.unusable[name]
    return f"of {tally.answered[name]} structures asked of {name}, {tally.usable_by_maker[name]} could be used"


def describe_progress(made_parts: MadeParts, plan: Plan, in_work: Mapping[tuple[str, str], int]) -> Progress:
    """Counts, stages and checkpoints for the status, from the parts; `wanted` of a source is for the end of the stage at hand."""
    wanted = made_parts.recipe.at(plan.step).stage_counts(plan.stage, plan.attempt)
    return Progress(
        round=max(len(plan.rounds) - 1, 0),
        stage=plan.stage,
        wave=plan.wave,
        waves=plan.n_waves,
        checkpoints=describe_checkpoints(plan),
        scenario=describe_scenario(plan).text,
        sources={name: _describe_source(made_parts, plan, name, wanted.get(name, 0), in_work) for name in made_parts.recipe.sources},
    )


def _describe_source(made_parts: MadeParts, plan: Plan, name: str, wanted: int, in_work: Mapping[tuple[str, str], int]) -> SourceProgress:
    """Counts, times and rejections of a source so far."""
    shards = [shard for shard in plan.shards() if shard.source == name]
    parts = [entry.totals for shard in shards if (entry := made_parts.peek(shard.name)) is not None]
    tally = plan.tallies.get(name, SourceTally())
    return SourceProgress(
        wanted=wanted,
        kept=tally.kept,
        labelled=sum(part.labelled for part in parts),
        generated=sum(part.generated for part in parts),
        requested=sum(part.requested for part in parts),
        shards=len(shards),
        shards_done=len(parts),
        in_work=InWork(generate=in_work.get((name, "generate"), 0), label=in_work.get((name, "label"), 0)),
        generate_seconds=sum(part.generate_seconds for part in parts),
        label_seconds=sum(part.label_seconds for part in parts),
        rejected=_count_rejected(parts),
        duplicates=tally.duplicates,
        outliers=tally.outliers,
        fallback=_find_fallback(shards),
    )


def _count_rejected(parts: Iterable[PartTotals]) -> Counter[str]:
    rejected = Counter[str]()
    for part in parts:
        for reason, count in part.rejected.items():
            rejected[reason.split(": ", 1)[1]] += count
    return rejected


def _find_fallback(shards: Iterable[Shard]) -> str | None:
    """Who made the last of a source's shards that it did not make itself."""
    makers = [shard.maker for shard in shards if shard.maker != shard.source]
    return makers[-1] if makers else None
