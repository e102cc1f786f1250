"""Following a dataset from the terminal: a live table where there is one, plain lines elsewhere."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn

from contract.problems import Unavailable, from_response

_POLL_SECONDS = 0.5
_LINE_SECONDS = 5.0
_LONGEST_SECONDS = 60.0
_PATIENCE = 60.0
ENDED = frozenset({"finished", "failed", "cancelled", "paused", "stopped"})

Status = dict[str, Any]


async def ask(client: httpx.AsyncClient, method: str, path: str, **request: Any) -> httpx.Response:
    """The gateway's answer; its Problem if it has one."""
    try:
        answer = await client.request(method, path, **request)
    except httpx.TransportError as error:
        raise Unavailable(f"the gateway at {client.base_url} can't be reached: {error or type(error).__name__}") from error
    if answer.status_code >= 400:
        body = answer.json() if "json" in answer.headers.get("content-type", "") else None
        raise from_response(answer.status_code, body, answer.text[:200])
    return answer


async def follow(client: httpx.AsyncClient, text: str, console: Console, wish: Mapping[str, str]) -> Status:
    """Hand in a recipe, to be made as far as `wish` says, and show its progress until it ends; the last status."""
    answer = await ask(client, "POST", "/v1/datasets", content=text.encode(), params=wish)
    path, view = answer.headers["Location"], _choose_view(console)
    status: Status = answer.json()
    lost_since: float | None = None
    with view:
        while True:
            view.show(status)
            if status["state"] in ENDED:
                return status
            await asyncio.sleep(_POLL_SECONDS)
            try:
                status = (await ask(client, "GET", path)).json()
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
        self._rates.note(status)
        for line in self._story.tell(status):
            self._progress.console.print(line, markup=False, highlight=False)
        for name, row in status["sources"].items():
            if name not in self._tasks:
                self._tasks[name] = self._progress.add_task(name, total=row["wanted"], rate="", note="")
            done = min(row["labelled"], row["wanted"])
            self._progress.update(
                self._tasks[name], total=row["wanted"], completed=done, rate=self._rates.describe(name), note=describe_row(row)
            )


class LineView:
    """Lines for a log: of a source its first and its last, and one for every tenth of it, another maker, or news after a minute."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rates = Rates()
        self._story = Story()
        self._printed: dict[str, tuple[float, dict[str, Any]]] = {}

    def __enter__(self) -> "LineView":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, status: Status) -> None:
        """Print what is new."""
        self._rates.note(status)
        for line in self._story.tell(status):
            self._print(line)
        for name, row in status["sources"].items():
            if self._is_news(name, row, status["state"] in ENDED):
                self._printed[name] = time.monotonic(), row
                line = f"{name}: {row['labelled']}/{row['wanted']} labelled  {self._rates.describe(name)}  {describe_row(row)}"
                self._print(line.rstrip())

    def _is_news(self, name: str, row: Mapping[str, Any], has_ended: bool) -> bool:
        if name not in self._printed:
            return True
        at, old = self._printed[name]
        if has_ended:
            return any(row[key] != old[key] for key in ("labelled", "wanted", "fallback", "rejected"))
        if row["fallback"] != old["fallback"] or old["labelled"] < row["wanted"] <= row["labelled"]:
            return True
        age, progress = time.monotonic() - at, row["labelled"] - old["labelled"]
        return progress > 0 and (age >= _LONGEST_SECONDS or (age >= _LINE_SECONDS and progress >= 0.1 * row["wanted"]))

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class Story:
    """What has happened to a dataset in stages, each thing told once; nothing where there is but one stage."""

    def __init__(self) -> None:
        self._n_told = 0
        self._at: tuple[Any, ...] = ()

    def tell(self, status: Status) -> list[str]:
        """The lines since the last time."""
        if len(status["stages"]) == 1:
            return []
        lines = [describe_checkpoint(checkpoint) for checkpoint in status["checkpoints"][self._n_told :]]
        self._n_told = max(self._n_told, len(status["checkpoints"]))
        at = (status["stage"], status["wave"], status["waves"])
        if at != self._at and status["state"] not in ENDED:
            lines.append(
                f"stage {describe_place(status)}: {sum(row['wanted'] for row in status['sources'].values())} structures by its end"
            )
            self._at = at
        return lines


def describe_place(status: Mapping[str, Any]) -> str:
    """For example `full, wave 2 of 12`."""
    return str(status["stage"]) + (f", wave {status['wave']} of {status['waves']}" if status["waves"] > 1 else "")


def describe_checkpoint(checkpoint: Mapping[str, Any]) -> str:
    """For example `stage test, generative fraction 0.7: NO-GO  5000 structures  failed: element_entropy (all)`."""
    fraction = checkpoint["generative_fraction"]
    where = describe_place(checkpoint) if not checkpoint["ends_stage"] else checkpoint["stage"]
    if checkpoint["stretch"] is not None:
        where += f", stretch {checkpoint['stretch']}"
    where += "" if fraction is None else f", generative fraction {fraction:g}"
    failed = f"  failed: {', '.join(checkpoint['reasons'])}" if checkpoint["reasons"] else ""
    kind = "stage" if checkpoint["ends_stage"] else "checkpoint"
    return f"{kind} {where}: {checkpoint['verdict']}  {checkpoint['n_structures']} structures{failed}"


class Rates:
    """Structures per second of every source since this process began to look."""

    def __init__(self) -> None:
        self._start: dict[str, tuple[float, int]] = {}
        self._now: dict[str, tuple[float, int, int]] = {}

    def note(self, status: Status) -> None:
        """Take in the counts of a status."""
        now = time.monotonic()
        for name, row in status["sources"].items():
            self._start.setdefault(name, (now, row["labelled"]))
            self._now[name] = (now, row["labelled"], row["wanted"])

    def describe(self, name: str) -> str:
        """For example `1.3/s, 2 min left`; empty while nothing is known."""
        (began, before), (now, done, wanted) = self._start[name], self._now[name]
        if done == before or now == began:
            return ""
        rate = (done - before) / (now - began)
        left = max(wanted - done, 0) / rate
        return f"{rate:.2f}/s" + (f", {describe_seconds(left)} left" if left else "")


def describe_seconds(seconds: float) -> str:
    """For example `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def describe_row(row: Mapping[str, Any]) -> str:
    """What else there is to say of a source: its fallback, what was rejected and why."""
    notes = [f"made by {row['fallback']} (fallback)"] if row["fallback"] else []
    rejected = sorted(row["rejected"].items(), key=lambda item: (-item[1], item[0]))
    notes += [f"{count} {reason}" for reason, count in rejected[:3]]
    return ("rejected " if rejected and not row["fallback"] else "") + ", ".join(notes)


def raise_if_failed(status: Status) -> None:
    """Raise the problem that a dataset failed with."""
    if status["state"] == "failed":
        problem = status["problem"]
        raise from_response(problem["status"], problem, problem["detail"])
