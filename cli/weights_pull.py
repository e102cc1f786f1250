"""Sets of weights fetched one after the other, and what is told of those that can't be."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from cli.terminal import Console, can_redraw
from distillery.errors import Unavailable
from distillery.weights.catalogue import ensure_checkpoint, read_weights_file
from distillery.weights.fetch import OutOfReach
from distillery.weights.http_download import ReportBytes

_BY_HAND = (
    "What came is kept: the same command goes on from there. Or run it where there is a network and copy its folder here; "
    "`distillery weights pull SERVICE/SET`, of one set, says which file belongs where."
)


class Pull:
    """Fetches sets into a folder; a server that can't be connected to is not tried again, and is told of once.

    is_alone  there is one set only: all that is known is told
    """

    def __init__(self, folder: Path, console: Console, *, is_alone: bool) -> None:
        self.has_failed = False
        self._folder, self._console, self._is_alone = folder, console, is_alone
        self._reasons: dict[str, str] = {}
        self._waiting: dict[str, list[str]] = {}
        """Sets by the server that they wait for."""

    def take(self, service: Path, name: str) -> None:
        """Fetch a set, or note that its server is out of reach; what is there is checked in any case."""
        label = f"{service.name}/{name}"
        hosts = {source.host for source in read_weights_file(service).sets[name].files.values()}
        away = next((host for host in hosts if host in self._reasons), None)
        try:
            with _bars(self._console) as bars:
                made = ensure_checkpoint(service, name, self._folder, download=away is None, show=partial(_show, bars))
        except Unavailable as problem:
            self.has_failed = True
            self._note(label, away, problem)
        else:
            self._say(f"{label}  sha256 {made.sha256}")

    def conclude(self) -> None:
        """Say which servers are out of reach, and what to do."""
        for host, sets in self._waiting.items():
            self._say(f"{host} can't be reached ({self._reasons[host]}): {', '.join(sets)}", "red")
        if self.has_failed and not self._is_alone:
            self._say(_BY_HAND)

    def _note(self, label: str, away: str | None, problem: Unavailable) -> None:
        host = away
        if isinstance(problem, OutOfReach) and problem.host is not None:
            host = problem.host
            self._reasons[host] = problem.reason
        if host is not None and not self._is_alone:
            self._waiting.setdefault(host, []).append(label)
        else:
            short = problem.what if isinstance(problem, OutOfReach) and not self._is_alone else problem.detail
            self._say(f"{label}: {short}", "red")

    def _say(self, line: str, style: str | None = None) -> None:
        self._console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _bars(console: Console) -> Iterator[Progress]:
    """Bars, shown where they can be drawn anew; elsewhere Rich 13 would leave an empty line for each."""
    columns = BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    bars = Progress(TextColumn("{task.description}"), *columns, console=console, transient=True)
    with bars if can_redraw(console) else nullcontext():
        yield bars


def _show(bars: Progress, file: str) -> ReportBytes:
    """A bar that is there once something came."""
    tasks: dict[str, TaskID] = {}

    def report(at: int, total: int | None) -> None:
        if file not in tasks:
            tasks[file] = bars.add_task(file, total=total)
        bars.update(tasks[file], completed=at, total=total)

    return report
