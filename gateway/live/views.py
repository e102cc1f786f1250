"""What the live page shows, as its templates take it: counts, rates, times and words, of one moment."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from distillery.report.rates import Rates, describe_seconds
from distillery.runtime.disk import is_nearly_full
from distillery.schema.dataset import SourceProgress, Status
from distillery.schema.factory import FactoryRecord, ReplicaRecord, RetryRecord
from distillery.schema.report import GateRecord

_ALL = ""


@dataclass(frozen=True)
class SourceRow:
    """A source's line: proposals, labelled frames, refusals by reason, rate."""

    name: str
    progress: SourceProgress
    rate: str
    doing: str


@dataclass(frozen=True)
class Line:
    """Something in the way, and since when."""

    text: str
    since: str = ""


@dataclass(frozen=True)
class DatasetView:
    """A dataset: its status, how much of it is there, and how long the rest takes."""

    status: Status
    counted: int
    wanted: int
    rate: str
    rows: Sequence[SourceRow]
    lines: Sequence[Line]
    work: Sequence[tuple[str, str, str, str]]
    """Shard, step, who does it, for how long."""

    @property
    def percent(self) -> int:
        """Of what is wanted by the end of the stage; never 100 before all is there."""
        return 100 * self.counted // self.wanted if self.wanted else 0

    def is_uncounted(self, row: SourceProgress) -> bool:
        """True while nobody has looked which of a source's structures count: that is done at the end of a round."""
        return self.is_working and not row.kept

    @property
    def is_working(self) -> bool:
        """True if it is being made."""
        return self.status.state == "running"

    @property
    def can_pause(self) -> bool:
        """True if there is something to pause."""
        return self.status.state == "running"

    @property
    def can_resume(self) -> bool:
        """True if it stands and is not finished."""
        return self.status.state in {"paused", "cancelled", "failed", "stopped"}

    @property
    def can_cancel(self) -> bool:
        """True if there is something to give up."""
        return self.status.state in {"running", "paused", "stopped", "failed"}

    @property
    def can_delete(self) -> bool:
        """True if nobody makes it: what runs is cancelled first."""
        return self.status.state not in {"running", "paused"}


class Watch:
    """Keeps the rates of datasets while they are looked at."""

    def __init__(self) -> None:
        self._rates: dict[str, Rates] = {}

    def view(self, status: Status) -> DatasetView:
        """What is shown of a dataset."""
        rates = self._rates.setdefault(status.name, Rates())
        counted = sum(row.counted for row in status.sources.values())
        wanted = sum(row.wanted for row in status.sources.values())
        rates.note(_ALL, counted)
        is_running = status.state == "running"
        return DatasetView(
            status=status,
            counted=counted,
            wanted=wanted,
            rate=rates.describe(_ALL, wanted - counted) if is_running else "",
            rows=[_describe_source(name, row, rates, is_running) for name, row in status.sources.items()],
            lines=[*_list_problems(status), *map(describe_retry, status.retries)],
            work=[(w.shard, "generating" if w.step == "generate" else "labelling", w.service, _say_since(w.since)) for w in status.at_work],
        )


def _describe_source(name: str, row: SourceProgress, rates: Rates, is_running: bool) -> SourceRow:
    rates.note(name, row.counted)
    return SourceRow(name, row, rates.describe(name, None) if is_running else "", row.in_work.describe())


def _list_problems(status: Status) -> Iterable[Line]:
    if status.problem is not None:
        yield Line(status.problem.detail)


def describe_retry(retry: RetryRecord) -> Line:
    """What is asked again, in a sentence."""
    wait = max(retry.next_try - time.time(), 0)
    when = f"next try in {describe_seconds(wait)}" if wait >= 1 else "trying again now"
    return Line(f"{retry.detail} ({retry.tries_so_far}, {when})", _say_since(retry.since))


def _say_since(moment: float) -> str:
    return describe_seconds(max(time.time() - moment, 0))


def describe_gate(gate: GateRecord) -> str:
    """A failed gate in words."""
    from distillery.report.page.gate_table import describe_failed

    return "; ".join(describe_failed([gate]))


def say_replica(replica: ReplicaRecord) -> str:
    """What a replica does, in words."""
    if not replica.is_ready:
        return replica.detail
    if replica.at_work:
        return ", ".join(replica.at_work[:4]) + (f" and {len(replica.at_work) - 4} more" if len(replica.at_work) > 4 else "")
    return "idle"


def is_disk_low(factory: FactoryRecord) -> bool:
    """True if there is little room for more."""
    return is_nearly_full(factory.disk_free_bytes, factory.disk_total_bytes)
