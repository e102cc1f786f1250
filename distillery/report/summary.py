"""How far a dataset is and which way it went: stages, checkpoints, scenario and sources, from its parts."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from distillery.dataset.folder import split_part_name
from distillery.errors import Problem
from distillery.planning.ledger import Ledger
from distillery.planning.plan import Checkpoint, Plan, SourceTally


def describe_checkpoint(checkpoint: Checkpoint) -> dict[str, Any]:
    """A checkpoint as JSON."""
    position, judgement = checkpoint.position, checkpoint.judgement
    return {
        "stage": position.stage,
        "attempt": position.attempt,
        "generative_fraction": checkpoint.fraction,
        "wave": position.wave,
        "waves": checkpoint.n_waves,
        "stretch": None if position.block is None else position.block + 1,
        "ends_stage": checkpoint.ends_stage,
        "n_structures": checkpoint.n_structures,
        "wanted": dict(checkpoint.wanted),
        "verdict": "GO" if judgement.is_go else "NO-GO",
        "reasons": list(judgement.reasons),
    }


def describe_stages(plan: Plan) -> list[dict[str, Any]]:
    """How every stage ended, each attempt at its shares a row."""
    return [describe_checkpoint(checkpoint) for checkpoint in plan.checkpoints if checkpoint.ends_stage]


def describe_scenario(plan: Plan) -> dict[str, Any]:
    """Whether every source made its own structures (A), or who stood in for whom and why (B)."""
    stand_ins = [
        {"source": name, "by": maker, "n_structures": tally.kept_by[maker], "reason": _explain_fallback(name, tally)}
        for name, tally in plan.tallies.items()
        for maker in tally.kept_by
        if maker != name
    ]
    text = "; ".join(f"{row['by']} for {row['source']} ({row['reason']})" for row in stand_ins)
    return {
        "name": "B" if stand_ins else "A",
        "text": f"B: {text}" if stand_ins else "A: every source made its own structures",
        "stand_ins": stand_ins,
        "unusable": {name: dict(tally.unusable) for name, tally in plan.tallies.items() if tally.unusable},
    }


def _explain_fallback(name: str, tally: SourceTally) -> str:
    if name in tally.unusable:
        return tally.unusable[name]
    return f"of {tally.answered[name]} structures asked of {name}, {tally.usable_by_maker[name]} could be used"


def describe_progress(ledger: Ledger, plan: Plan, in_work: Counter[tuple[str, str]]) -> dict[str, Any]:
    """What the status says of a dataset by its parts."""
    return {
        "round": max(len(plan.rounds) - 1, 0),
        "stage": plan.stage,
        "wave": plan.wave,
        "waves": plan.n_waves,
        "checkpoints": [describe_checkpoint(checkpoint) for checkpoint in plan.checkpoints],
        "scenario": describe_scenario(plan)["text"],
        "sources": _describe_sources(ledger, plan, in_work),
    }


def describe_end(report: Mapping[str, Any], parts: Iterable[str]) -> dict[str, Any]:
    """The same of a finished dataset, by its report and the names of its parts."""
    last, shards = report["checkpoints"][-1], Counter(split_part_name(part)[1] for part in parts)
    stand_ins = {row["source"]: row["by"] for row in report["scenario"]["stand_ins"]}
    return {
        "round": report["rounds"] - 1,
        "stage": report["stage"],
        "wave": last["wave"],
        "waves": last["waves"],
        "checkpoints": report["checkpoints"],
        "scenario": report["scenario"]["text"],
        "sources": {name: _describe_ended(own, shards[name], stand_ins.get(name)) for name, own in report["sources"].items()},
    }


def describe_unreadable(name: str, problem: Problem) -> dict[str, Any]:
    """The status of a dataset that can't be told anything of but why."""
    nothing: dict[str, Any] = {"verdict": None, "round": 0, "stage": "", "teacher": "", "sources": {}}
    return {"name": name, "state": "failed", "problem": problem.body(), **nothing}


def _describe_ended(own: Mapping[str, Any], shards: int, stand_in: str | None) -> dict[str, Any]:
    row = _new_row(own["wanted"])
    row |= {key: own[key] for key in ("kept", "labelled", "generated", "requested", "generate_seconds", "label_seconds")}
    for reason, count in own["rejected"].items():
        stage, what = reason.split(": ", 1)
        if stage != "dataset":
            row["rejected"][what] += count
    duplicates = own["rejected"].get("dataset: duplicate", 0)
    return row | {"shards": shards, "shards_done": shards, "duplicates": duplicates, "fallback": stand_in}


def _describe_sources(ledger: Ledger, plan: Plan, in_work: Counter[tuple[str, str]]) -> dict[str, dict[str, Any]]:
    """Counts, times and rejections of every source so far, for the status; `wanted` is for the end of the stage at hand."""
    sources = {name: _new_row(count) for name, count in ledger.recipe.stage_counts(plan.stage, plan.attempt).items()}
    for shard in plan.shards():
        row, entry = sources[shard.source], ledger.peek(shard.name)
        row["shards"] += 1
        if shard.maker != shard.source:
            row["fallback"] = shard.maker
        if entry is None:
            continue
        part = entry.measures
        row["shards_done"] += 1
        row["requested"] += part.requested
        row["generated"] += part.generated
        row["labelled"] += part.labelled
        row["generate_seconds"] += part.generate_seconds
        row["label_seconds"] += part.label_seconds
        for reason, count in part.rejected.items():
            row["rejected"][reason.split(": ", 1)[1]] += count
    for (name, step), count in in_work.items():
        sources[name]["in_work"][step] = count
    for name, tally in plan.tallies.items():
        sources[name]["duplicates"] = tally.duplicates
        sources[name]["kept"] = tally.kept
    return sources


def _new_row(count: int) -> dict[str, Any]:
    return {
        "wanted": count,
        "kept": 0,
        "labelled": 0,
        "generated": 0,
        "requested": 0,
        "shards": 0,
        "shards_done": 0,
        "in_work": {"generate": 0, "label": 0},
        "generate_seconds": 0.0,
        "label_seconds": 0.0,
        "rejected": Counter[str](),
        "duplicates": 0,
        "fallback": None,
    }
