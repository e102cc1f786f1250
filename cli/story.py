"""What is told of a dataset in the making: its stages, what is under way, and what each source has."""

from collections.abc import Iterable, Iterator

from distillery.report.rates import Rates
from distillery.schema.dataset import SourceProgress, Status
from distillery.schema.report import CheckpointRecord

_ALL = "all sources"


def list_rows(status: Status, rates: Rates) -> Iterator[tuple[str, SourceProgress, str]]:
    """Name, counts and rate of every source; then, where there are several, of all together, which alone tells the time left."""
    sources = status.sources
    if not any(row.shards for row in sources.values()):  # what there is already is still being read
        return
    for name, row in sources.items():
        rates.note(name, row.counted)
        yield name, row, rates.describe(name, _count_missing([row]) if len(sources) == 1 else None)
    if len(sources) > 1:
        wanted, missing = sum(row.wanted for row in sources.values()), _count_missing(sources.values())
        rates.note(_ALL, wanted - missing)
        yield _ALL, SourceProgress(labelled=wanted - missing, wanted=wanted), rates.describe(_ALL, missing)


def _count_missing(rows: Iterable[SourceProgress]) -> int:
    return sum(row.wanted - row.counted for row in rows)


class Story:
    """What has happened to a dataset, each thing told once: its stages where there are several, and what else takes its time."""

    def __init__(self) -> None:
        self._n_told = 0
        self._at: tuple[str | None, int, int] | None = None
        self._doing = ""
        self._retries: set[str] = set()

    def tell_retries(self, status: Status) -> list[str]:
        """What has begun to be asked again, and that there is an answer now."""
        now = {retry.detail for retry in status.retries}
        fresh, over = now - self._retries, self._retries - now
        self._retries = now
        return [f"{detail}; trying again" for detail in sorted(fresh)] + ["all are there now"] * bool(over and not now)

    def tell(self, status: Status) -> list[str]:
        """The lines since the last time."""
        lines = self.tell_stages(status)
        if (doing := status.doing) != self._doing:
            self._doing = doing
            lines += [f"{doing} …"] if doing else []
        return lines

    def tell_stages(self, status: Status) -> list[str]:
        """Those of stages alone, where there are several."""
        if len(status.stages) == 1:
            return []
        lines = [tell_checkpoint(checkpoint) for checkpoint in status.checkpoints[self._n_told :]]
        self._n_told = max(self._n_told, len(status.checkpoints))
        at = (status.stage, status.wave, status.waves)
        if at != self._at and status.state == "running":
            lines.append(f"stage {describe_place(status)}: {sum(row.wanted for row in status.sources.values())} structures by its end")
            self._at = at
        return lines


def describe_place(at: Status | CheckpointRecord) -> str:
    """For example `full, wave 2 of 12`."""
    return str(at.stage) + (f", wave {at.wave} of {at.waves}" if at.waves > 1 else "")


def tell_checkpoint(checkpoint: CheckpointRecord) -> str:
    """For example `stage test, generative fraction 0.7: NO-GO  5000 structures  failed: element_entropy (all)`."""
    where = checkpoint.stage if checkpoint.ends_stage else describe_place(checkpoint)
    if checkpoint.stretch is not None:
        where += f", stretch {checkpoint.stretch}"
    if checkpoint.generative_fraction is not None:
        where += f", generative fraction {checkpoint.generative_fraction:g}"
    failed = f"  failed: {', '.join(checkpoint.reasons)}" if checkpoint.reasons else ""
    kind = "stage" if checkpoint.ends_stage else "checkpoint"
    return f"{kind} {where}: {checkpoint.verdict}  {checkpoint.n_structures} structures{failed}"


def say_how_many(status: Status) -> str:
    """Structures of those wanted by the end of the stage, for example `4800/5000`."""
    rows = status.sources.values()
    return f"{sum(row.counted for row in rows)}/{sum(row.wanted for row in rows)}"


def describe_briefly(status: Status) -> str:
    """In a line what holds a dataset up, else what it is busy with or what failed; "" if there is nothing to say."""
    if status.problem is not None:
        return status.problem.detail.splitlines()[0]
    if status.retries:
        return status.retries[0].detail
    if status.state == "running":
        return status.doing or describe_work(status)
    return f"failed: {', '.join(status.reasons)}" if status.reasons else ""


def describe_row(row: SourceProgress) -> str:
    """What else there is to say of a source: its fallback, what was rejected and why."""
    notes = [f"made by {row.fallback} (fallback)"] if row.fallback else []
    refused = list(row.refused.items())
    notes += [f"{count} {reason}" for reason, count in refused[:3]]
    notes += [f"{sum(count for _, count in refused[3:])} for {len(refused) - 3} other reasons"] if len(refused) > 4 else []
    return ("rejected " if refused and not row.fallback else "") + ", ".join(notes)


def describe_steps(row: SourceProgress) -> str:
    """For example `12 proposals, generating 2 shards`: what is done already and not to be seen in what is labelled."""
    notes = [f"{row.generated} proposals"] if row.generated > row.labelled else []
    return ", ".join(filter(None, (*notes, row.in_work.describe())))


def describe_work(status: Status) -> str:
    """For example `generating crystals, clusters; labelling molecules`, of a dataset that is being made."""
    steps = {
        "generating": [name for name, row in status.sources.items() if row.in_work.generate],
        "labelling": [name for name, row in status.sources.items() if row.in_work.label],
    }
    return "; ".join(f"{step} {', '.join(names)}" for step, names in steps.items() if names) or "planning"
