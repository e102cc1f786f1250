"""Following a dataset from the terminal: a live table where there is one, plain lines elsewhere."""

import asyncio
import time
from collections.abc import Mapping

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from cli.story import Story, describe_row, describe_steps, describe_work, list_rows
from cli.terminal import Console, can_redraw
from distillery.errors import Unavailable, from_body
from distillery.http.client import Client
from distillery.report.rates import Rates
from distillery.schema.dataset import SourceProgress, Status

_POLL_SECONDS = 0.5
_LINE_SECONDS = 5.0
_LONGEST_SECONDS = 60.0
_PATIENCE = 60.0
_NARROW = 72
"""Columns; a narrower terminal has no room for the time left."""
ENDED = frozenset({"finished", "failed", "cancelled", "paused", "stopped"})


async def follow(client: Client, text: str, view: "LiveView | LineView", target: Mapping[str, str]) -> Status:
    """Hand in a recipe, to be made as far as `target` says, and show its progress until it ends; the last status."""
    answer = await client.send("POST", "/v1/datasets", content=text.encode(), params=target)
    path, status = answer.headers["Location"], client.parse(Status, answer.content)
    lost_since: float | None = None
    while True:
        view.show(status)
        if status.state in ENDED:
            return status
        await asyncio.sleep(_POLL_SECONDS)
        try:
            status = await client.ask(Status, "GET", path)
            lost_since = None
        except Unavailable as problem:
            lost_since = lost_since or time.monotonic()
            view.tell(f"{problem.detail}; asking again")
            if time.monotonic() - lost_since > _PATIENCE:
                raise


def choose_view(console: Console) -> "LiveView | LineView":
    """The view for this console."""
    return LiveView(console) if can_redraw(console) else LineView(console)


class _Yielding(TextColumn):
    """A text that is cut off where there is too little room for all columns, before others are."""

    def __init__(self, text: str) -> None:
        super().__init__(text, table_column=Column())  # of columns that may wrap Rich takes room first

    def render(self, task: Task) -> Text:
        """See `TextColumn`."""
        text = super().render(task)
        text.no_wrap, text.overflow = True, "ellipsis"
        return text


class LiveView:
    """What is under way and for how long, and a bar a source, redrawn in place.

    last  the last status that was shown
    """

    def __init__(self, console: Console) -> None:
        self._head = Progress(SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False), console=console)
        self._doing = self._head.add_task("", total=None)
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<12}"),
            BarColumn(min(max(console.width // 8, 10), 40), table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[count]}"),
            (_Yielding if console.width < _NARROW else TextColumn)("{task.fields[rate]}"),
            _Yielding("[dim]{task.fields[note]}"),
            console=console,
        )
        self._live = Live(Group(self._bars, self._head), console=console, refresh_per_second=4)
        self._longest_name = max(console.width // 4, 12)
        self._tasks: dict[str, TaskID] = {}
        self._rates = Rates()
        self._story = Story()
        self._is_stopping = False
        self.last: Status | None = None

    def __enter__(self) -> "LiveView":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._head.update(self._doing, visible=False)
        self._live.stop()

    def tell(self, doing: str) -> None:
        """Say what is under way."""
        if not self._is_stopping:
            self._head.update(self._doing, description=doing)

    def say(self, line: str) -> None:
        """A line that stays."""
        self._live.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def stop(self, line: str) -> None:
        """Say that it is being stopped; nothing else is said of what is under way from then on. May come from a signal handler."""
        self.tell(line)
        self._is_stopping = True
        self._live.refresh()

    def show(self, status: Status) -> None:
        """Redraw."""
        self.last = status
        self.tell(status.doing or describe_work(status))
        for line in self._story.tell_stages(status):
            self._live.console.print(line, markup=False, highlight=False)
        for line in self._story.tell_retries(status):
            self._live.console.print(line, markup=False, highlight=False)
        for name, row, rate in list_rows(status, self._rates):
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(_shorten(name, self._longest_name), total=None, count="", rate="", note="")
            note = ", ".join(filter(None, (describe_steps(row), describe_row(row))))
            is_moving = not row.counted and bool(row.in_work.generate or row.in_work.label)  # a bar at zero would say that nothing is done
            total = None if is_moving else row.wanted
            self._bars.update(
                self._tasks[name], total=total, completed=row.counted, count=f"{row.counted}/{row.wanted}", rate=rate, note=note
            )


def _shorten(name: str, n: int) -> str:
    return name if len(name) <= n else f"{name[: n - 1]}…"


class LineView:
    """Lines for a log: of a source its first and its last, and one for every tenth of it, another maker, or news after a minute.

    last  the last status that was shown
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rates = Rates()
        self._story = Story()
        self._printed: dict[str, tuple[float, SourceProgress]] = {}
        self.last: Status | None = None

    def __enter__(self) -> "LineView":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def tell(self, doing: str) -> None:
        """Say what comes before anything can be shown; later what is under way is in the lines of `show`, once."""
        if self.last is None:
            self._print(f"{doing} …")

    def say(self, line: str) -> None:
        """A line that stays."""
        self._print(line)

    def stop(self, line: str) -> None:
        """Say that it is being stopped."""
        self._print(line)

    def show(self, status: Status) -> None:
        """Print what is new."""
        self.last = status
        for line in [*self._story.tell(status), *self._story.tell_retries(status)]:
            self._print(line)
        for name, row, rate in list_rows(status, self._rates):
            if self._is_news(name, row, status.state in ENDED):
                self._printed[name] = time.monotonic(), row
                self._print("  ".join(filter(None, (f"{name}: {row.counted}/{row.wanted} labelled", rate, describe_row(row)))))

    def _is_news(self, name: str, row: SourceProgress, has_ended: bool) -> bool:
        if name not in self._printed:
            return True
        at, old = self._printed[name]
        if has_ended:
            return (row.counted, row.wanted, row.fallback, row.refused) != (old.counted, old.wanted, old.fallback, old.refused)
        if row.fallback != old.fallback or row.counted < old.counted or old.counted < row.wanted <= row.counted:
            return True
        age, progress = time.monotonic() - at, row.counted - old.counted
        return progress > 0 and (age >= _LONGEST_SECONDS or (age >= _LINE_SECONDS and progress >= 0.1 * row.wanted))

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def raise_if_failed(status: Status) -> None:
    """Raise the problem that a dataset failed with."""
    if status.state == "failed" and (problem := status.problem) is not None:
        raise from_body(problem.status, problem.model_dump(), problem.detail)
