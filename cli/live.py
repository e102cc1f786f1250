"""Following a dataset from the terminal: a live table where there is one, plain lines elsewhere."""

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn

from distillery.errors import Unavailable, from_body
from distillery.http.client import Client
from distillery.schema.dataset import SourceProgress, Status
from distillery.schema.report import CheckpointRecord

_POLL_SECONDS = 0.5
_LINE_SECONDS = 5.0
_LONGEST_SECONDS = 60.0
_PATIENCE = 60.0
_SAMPLE_SECONDS = 10.0
_WINDOW_SECONDS = 900.0
_ALL = "all sources"
ENDED = frozenset({"finished", "failed", "cancelled", "paused", "stopped"})


async def follow(client: Client, text: str, console: Console, target: Mapping[str, str]) -> Status:
    """Hand in a recipe, to be made as far as `target` says, and show its progress until it ends; the last status."""
    answer = await client.send("POST", "/v1/datasets", content=text.encode(), params=target)
    path, view = answer.headers["Location"], _choose_view(console)
    status = client.parse(Status, answer.content)
    lost_since: float | None = None
    with view:
        while True:
            view.show(status)
            if status.state in ENDED:
                return status
            await asyncio.sleep(_POLL_SECONDS)
            try:
                status = await client.ask(Status, "GET", path)
                lost_since = None
            except Unavailable:
                lost_since = lost_since or time.monotonic()
                if time.monotonic() - lost_since > _PATIENCE:
                    raise


def _choose_view(console: Console) -> "LiveView | LineView":
    return LiveView(console) if console.is_terminal else LineView(console)


class LiveView:
    """A bar a source, redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("[dim]{task.fields[note]}"),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._rates = Rates()
        self._story = Story()

    def __enter__(self) -> "LiveView":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, status: Status) -> None:
        """Redraw."""
        for line in self._story.tell(status):
            self._progress.console.print(line, markup=False, highlight=False)
        for name, row, rate in list_rows(status, self._rates):
            if name not in self._tasks:
                self._tasks[name] = self._progress.add_task(name, total=row.wanted, rate="", note="")
            done = min(row.labelled, row.wanted)
            self._progress.update(self._tasks[name], total=row.wanted, completed=done, rate=rate, note=describe_row(row))


class LineView:
    """Lines for a log: of a source its first and its last, and one for every tenth of it, another maker, or news after a minute."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rates = Rates()
        self._story = Story()
        self._printed: dict[str, tuple[float, SourceProgress]] = {}

    def __enter__(self) -> "LineView":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, status: Status) -> None:
        """Print what is new."""
        for line in self._story.tell(status):
            self._print(line)
        for name, row, rate in list_rows(status, self._rates):
            if self._is_news(name, row, status.state in ENDED):
                self._printed[name] = time.monotonic(), row
                self._print(f"{name}: {row.labelled}/{row.wanted} labelled  {rate}  {describe_row(row)}".rstrip())

    def _is_news(self, name: str, row: SourceProgress, has_ended: bool) -> bool:
        if name not in self._printed:
            return True
        at, old = self._printed[name]
        if has_ended:
            return (row.labelled, row.wanted, row.fallback, row.rejected) != (old.labelled, old.wanted, old.fallback, old.rejected)
        if row.fallback != old.fallback or old.labelled < row.wanted <= row.labelled:
            return True
        age, progress = time.monotonic() - at, row.labelled - old.labelled
        return progress > 0 and (age >= _LONGEST_SECONDS or (age >= _LINE_SECONDS and progress >= 0.1 * row.wanted))

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def list_rows(status: Status, rates: "Rates") -> Iterator[tuple[str, SourceProgress, str]]:
    """Name, counts and rate of every source; then, where there are several, of all together, which alone tells the time left."""
    sources = status.sources
    if not any(row.shards for row in sources.values()):  # what there is already is still being read
        return
    for name, row in sources.items():
        rates.note(name, row.labelled)
        yield name, row, rates.describe(name, _count_missing([row]) if len(sources) == 1 else None)
    if len(sources) > 1:
        wanted, missing = sum(row.wanted for row in sources.values()), _count_missing(sources.values())
        rates.note(_ALL, wanted - missing)
        yield _ALL, SourceProgress(labelled=wanted - missing, wanted=wanted), rates.describe(_ALL, missing)


def _count_missing(rows: Iterable[SourceProgress]) -> int:
    return sum(max(row.wanted - row.labelled, 0) for row in rows)


class Story:
    """What has happened to a dataset, each thing told once: its stages where there are several, and what else takes its time."""

    def __init__(self) -> None:
        self._n_told = 0
        self._at: tuple[str | None, int, int] | None = None
        self._doing = ""

    def tell(self, status: Status) -> list[str]:
        """The lines since the last time."""
        lines = self._tell_stages(status) if len(status.stages) > 1 else []
        if (doing := status.doing) != self._doing:
            self._doing = doing
            lines += [f"{doing} …"] if doing else []
        return lines

    def _tell_stages(self, status: Status) -> list[str]:
        lines = [tell_checkpoint(checkpoint) for checkpoint in status.checkpoints[self._n_told :]]
        self._n_told = max(self._n_told, len(status.checkpoints))
        at = (status.stage, status.wave, status.waves)
        if at != self._at and status.state not in ENDED:
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


class Rates:
    """Structures per second of every row in the last quarter of an hour, as far as this process has seen it."""

    def __init__(self) -> None:
        self._seen: dict[str, deque[tuple[float, int]]] = {}

    def note(self, name: str, labelled: int) -> None:
        """Take in a count."""
        now = time.monotonic()
        seen = self._seen.setdefault(name, deque())
        if len(seen) > 1 and now - seen[-2][0] < _SAMPLE_SECONDS:
            seen.pop()
        seen.append((now, labelled))
        while now - seen[0][0] > _WINDOW_SECONDS:
            seen.popleft()

    def describe(self, name: str, missing: int | None) -> str:
        """For example `1.30/s`, and ` about 2 min left` where what is missing is given; empty while nothing is known."""
        (began, before), (now, labelled) = self._seen[name][0], self._seen[name][-1]
        if labelled == before or now == began:
            return ""
        rate = (labelled - before) / (now - began)
        return f"{rate:.2f}/s" + (f", about {describe_seconds(missing / rate)} left" if missing else "")


def describe_seconds(seconds: float) -> str:
    """For example `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def describe_row(row: SourceProgress) -> str:
    """What else there is to say of a source: its fallback, what was rejected and why."""
    notes = [f"made by {row.fallback} (fallback)"] if row.fallback else []
    rejected = sorted(row.rejected.items(), key=lambda item: (-item[1], item[0]))
    notes += [f"{count} {reason}" for reason, count in rejected[:3]]
    return ("rejected " if rejected and not row.fallback else "") + ", ".join(notes)


def raise_if_failed(status: Status) -> None:
    """Raise the problem that a dataset failed with."""
    if status.state == "failed" and (problem := status.problem) is not None:
        raise from_body(problem.status, problem.model_dump(), problem.detail)
