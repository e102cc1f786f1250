"""Summary of a finished dataset from its report alone: what `describe_progress` says of one, without reading a part."""

from collections import Counter
from collections.abc import Iterable

from distillery.dataset.folder import split_part_name
from distillery.schema.dataset import Progress, SourceProgress
from distillery.schema.report import Report, SourceReport


def describe_end(report: Report, parts: Iterable[str]) -> Progress:
    """Counts, stages and checkpoints of a finished dataset, by its report and the names of its parts."""
    last, shards = report.checkpoints[-1], Counter(split_part_name(part)[1] for part in parts)
    used_fallbacks = {row.source: row.by for row in report.scenario.stand_ins}
    return Progress(
        round=report.rounds - 1,
        stage=report.stage,
        wave=last.wave,
        waves=last.waves,
        checkpoints=report.checkpoints,
        scenario=report.scenario.text,
        sources={name: _describe_ended(own, shards[name], used_fallbacks.get(name)) for name, own in report.sources.items()},
    )


def _describe_ended(own: SourceReport, shards: int, used_fallback: str | None) -> SourceProgress:
    rejected = Counter[str]()
    for reason, count in own.rejected.items():
        step, what = reason.split(": ", 1)
        if step != "dataset":
            rejected[what] += count
    return SourceProgress(
        **own.model_dump(include={"wanted", "kept", "labelled", "generated", "requested", "generate_seconds", "label_seconds"}),
        shards=shards,
        shards_done=shards,
        rejected=rejected,
        duplicates=own.rejected.get("dataset: duplicate", 0),
        outliers=own.rejected.get("dataset: energy_outlier", 0),
        fallback=used_fallback,
    )
