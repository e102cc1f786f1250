"""How far a dataset is, source by source, from its parts."""

from collections import Counter
from typing import Any

from gateway.ledger import Ledger
from gateway.plan import Plan


def describe_sources(ledger: Ledger, plan: Plan, in_work: Counter[tuple[str, str]]) -> dict[str, dict[str, Any]]:
    """Counts, times and rejections of every source so far, for the status."""
    sources = {name: _new_row(count) for name, count in ledger.recipe.counts().items()}
    for shard in plan.shards():
        row, entry = sources[shard.source], ledger.peek(shard.name)
        row["shards"] += 1
        if shard.maker != shard.source:
            row["fallback"] = shard.maker
        if entry is None:
            continue
        record = entry.receipt.record
        row["shards_done"] += 1
        row["requested"] += record.requested
        row["generated"] += record.generated
        row["labelled"] += entry.receipt.n_structures
        row["generate_seconds"] += record.generate_seconds
        row["label_seconds"] += entry.receipt.label_seconds
        row["rejected"].update(Counter(record.service_rejected))
        row["rejected"].update(reject.reason for reject in (*record.rejected, *entry.receipt.rejected))
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
