"""What the commands print: lines for a log, the plan of a dry run."""

import io
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from cli.forecast import show_forecast
from cli.live import LineView, LiveView, choose_view
from cli.story import Story, describe_work
from distillery.planning.forecast import describe_forecast
from distillery.planning.made_parts import MadeParts
from distillery.planning.pace import measure_pace
from distillery.planning.plan import Shard
from distillery.recipe.reading import parse_recipe, read_recipe
from distillery.schema.dataset import Rate, Status
from tests.dataset_folder import RECIPE, write_parts

ROOT = Path(__file__).parents[2]


class Clock:
    """A clock that tests set; s."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Log:
    """A log that a LineView writes to."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._file = clock, io.StringIO()
        self._view = LineView(Console(file=self._file, width=80))
        self._n_read = 0
        self.n_shards = 1
        self.doing = ""

    def show(self, seconds: float, state: str = "running", wanted: int = 100, **labelled: int | dict[str, Any]) -> list[str]:
        """What a status says of its sources so many seconds after the last; a source's labelled structures, or its whole row."""
        lines = self.show_all(seconds, state, wanted, **labelled)
        return [line.split("  ")[0] for line in lines if not line.startswith("all sources")]

    def show_all(self, seconds: float, state: str = "running", wanted: int = 100, **labelled: int | dict[str, Any]) -> list[str]:
        """All the lines that a status gives, whole."""
        self._clock.now += seconds
        row: dict[str, Any] = {"wanted": wanted, "shards": self.n_shards}
        sources = {name: row | (one if isinstance(one, dict) else {"labelled": one}) for name, one in labelled.items()}
        status = {"name": "small", "state": state, "stages": ["full"], "sources": sources, "doing": self.doing}
        self._view.show(Status.model_validate(status))
        lines = self._file.getvalue().splitlines()
        self._n_read, fresh = len(lines), lines[self._n_read :]
        return fresh


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    clock = Clock()
    for module in ("cli.live", "distillery.report.rates"):
        monkeypatch.setattr(f"{module}.time", SimpleNamespace(monotonic=clock))
    return Log(clock)


def test_a_log_has_the_sources_that_changed_only(log: Log) -> None:
    assert log.show(0, one=0, two=0) == ["one: 0/100 labelled", "two: 0/100 labelled"]
    assert log.show(10, one=10, two=0) == ["one: 10/100 labelled"]
    assert log.show(500, one=10, two=0) == []


def test_a_log_has_a_line_for_every_tenth_and_what_changed_after_a_minute(log: Log) -> None:
    log.show(0, one=0)
    assert log.show(10, one=9) == []
    assert log.show(10, one=10) == ["one: 10/100 labelled"]
    assert log.show(1, one=30) == [], "not more than one in five seconds"
    assert log.show(5, one=30) == ["one: 30/100 labelled"]
    assert log.show(59, one=31) == []
    assert log.show(1, one=31) == ["one: 31/100 labelled"]


def test_a_log_of_a_long_run_stays_short(log: Log) -> None:
    lines = [line for n in range(1000) for line in log.show(0.5, wanted=1000, one=n, two=n, three=0)]
    assert len(lines) == 3 + 2 * 9, "a tenth takes 50 s"


def test_a_log_says_at_once_that_a_source_is_complete_or_that_another_stands_in(log: Log) -> None:
    log.show(0, one=0, two=0)
    assert log.show(1, one=99, two=1) == []
    assert log.show(1, one=100, two={"labelled": 1, "fallback": "one"}) == ["one: 100/100 labelled", "two: 1/100 labelled"]
    assert log.show(1, one=101, two={"labelled": 1, "fallback": "one"}) == []


def test_a_log_ends_with_what_was_not_yet_said(log: Log) -> None:
    log.show(0, one=0, two=0, three=0)
    log.show(6, one=100, two=50, three=0)
    last = log.show(1, "finished", one=100, two=53, three={"rejected": {"size": 2}})
    assert last == ["two: 53/100 labelled", "three: 0/100 labelled"]


def test_the_time_left_is_that_of_all_sources_together(log: Log) -> None:
    assert log.show_all(0, wanted=1000, one=0, two=0)[-1] == "all sources: 0/2000 labelled"
    assert log.show_all(100, wanted=1000, one=300, two=0) == [
        "one: 300/1000 labelled  3.00/s",
        "all sources: 300/2000 labelled  3.00/s, about 9 min left",
    ]


def test_what_one_source_has_too_much_another_still_lacks(log: Log) -> None:
    assert log.show_all(0, one=190, two=10)[-1] == "all sources: 110/200 labelled"


def test_a_single_source_tells_its_time_left_itself(log: Log) -> None:
    log.show_all(0, one=0)
    assert log.show_all(10, one=20) == ["one: 20/100 labelled  2.00/s, about 40 s left"]


def test_rates_are_those_of_the_last_quarter_of_an_hour(log: Log) -> None:
    for _ in range(100):
        log.show_all(10, wanted=10_000, one=0)
    lines = [line for n in range(1, 101) for line in log.show_all(10, wanted=10_000, one=20 * n)]
    assert lines[-1].split("  ")[1] == "2.00/s, about 67 min left"


def test_parts_of_an_earlier_run_do_not_count_as_made_now(log: Log) -> None:
    log.n_shards = 0
    assert log.show_all(0, wanted=1000, one=0) == []
    log.n_shards = 1
    assert log.show_all(10, wanted=1000, one=800) == ["one: 800/1000 labelled"]
    assert log.show_all(10, wanted=1000, one=900) == ["one: 900/1000 labelled  10.00/s, about 10 s left"]


def test_what_takes_its_time_is_named_once(log: Log) -> None:
    log.doing = "making report.html"
    assert log.show(0, one=100) == ["making report.html …", "one: 100/100 labelled"]
    assert log.show(60, one=100) == []
    log.doing = ""
    assert log.show(60, one=100) == []


def test_what_was_left_out_at_the_end_of_a_round_is_not_counted_and_that_is_told(log: Log) -> None:
    full: dict[str, Any] = {"labelled": 100, "rejected": {"duplicate": 3}}
    assert log.show_all(10, one=full) == ["one: 100/100 labelled  rejected 3 duplicate"]
    compared = full | {"duplicates": 60, "outliers": 2}
    assert log.show_all(1, one=compared) == ["one: 38/100 labelled  rejected 63 duplicate, 2 energy_outlier"]
    assert log.show_all(10, one=compared | {"labelled": 150}) == [
        "one: 88/100 labelled  5.00/s, about 2 s left  rejected 63 duplicate, 2 energy_outlier"
    ]


def test_more_is_never_labelled_than_is_wanted(log: Log) -> None:
    assert log.show(0, wanted=12, one=13) == ["one: 12/12 labelled"]


def test_what_is_under_way_is_told_by_step_and_source() -> None:
    sources = {
        "one": {"wanted": 9, "in_work": {"generate": 1, "label": 2}},
        "two": {"wanted": 9, "in_work": {"label": 1}},
        "three": {"wanted": 9},
    }
    status = Status.model_validate({"name": "small", "state": "running", "sources": sources})
    assert describe_work(status) == "generating one; labelling one, two"
    assert describe_work(status.model_copy(update={"sources": {}})) == "planning"


def make_parts(folder: Path, seconds_apart: float, only: Callable[[Shard], bool] = lambda shard: True, text: str = RECIPE) -> MadeParts:
    """Parts of `write_parts`, each of which took 2 s to generate and 0 s to label, written one after another."""
    write_parts(folder, text, only=only, generate_seconds=2.0)
    (folder / "recipe.yaml").touch()
    began = (folder / "recipe.yaml").stat().st_mtime
    for k, path in enumerate(sorted((folder / "parts").glob("*.h5"))):
        os.utime(path, (began + 30 + seconds_apart * k,) * 2)
    return MadeParts(folder, parse_recipe(text))


def test_the_time_left_goes_by_the_clock_of_the_parts_so_far(tmp_path: Path) -> None:
    made_parts = make_parts(tmp_path / "pictured", 10.0, only=lambda shard: shard.name[-1] in "01")
    forecast = describe_forecast(made_parts, "full")
    assert (forecast.parts, forecast.parts_done) == (6, 4)
    work = sum(forecast.rest.generate_seconds.values()) + forecast.rest.label_seconds
    pace = measure_pace(made_parts, [f"full-{source}-0000{k}" for source in ("molecules", "crystals") for k in (0, 1)])
    assert (pace.n_parts, pace.clock) == (3, pytest.approx(30))
    assert forecast.rest.seconds == pytest.approx(pace.start + work * pace.clock / pace.work)
    assert f"by the clock of 3 parts so far: 30 s for {pace.work:.0f} s of work, and {pace.start:.0f} s to start" in forecast.assumption


def test_pauses_do_not_count_and_copied_parts_have_no_clock(tmp_path: Path) -> None:
    made_parts = make_parts(tmp_path / "pictured", 3600.0)
    describe_forecast(made_parts, "full")
    pace = measure_pace(made_parts, ["full-molecules-00000", "full-molecules-00001", "full-molecules-00002"])
    assert pace.clock == pytest.approx(pace.work)
    copied = make_parts(tmp_path / "copied" / "pictured", 0.0)
    forecast = describe_forecast(copied, "full")
    assert "one after another, which is the longest" in forecast.assumption


def test_parts_behind_one_that_is_missing_have_rates_too(tmp_path: Path) -> None:
    made_parts = make_parts(tmp_path / "pictured", 1.0, only=lambda shard: shard.name != "full-molecules-00000")
    forecast = describe_forecast(made_parts, "full")
    assert set(forecast.rates) == {"molecules", "crystals"}
    assert not forecast.unknown


def test_the_calls_of_the_teacher_follow_the_sample(tmp_path: Path) -> None:
    text = RECIPE + "sample: {relax: {steps: 5}, md: {steps: 40, every: 10}, keep: 3}\n"
    forecast = describe_forecast(MadeParts(tmp_path, parse_recipe(text)), "full")
    assert forecast.rest.n_structures == 20 + 10, "three frames are kept of each proposal"
    assert forecast.rest.n_calls == 30 * (5 + 40 + 1)
    file = io.StringIO()
    show_forecast(forecast, Console(file=file, width=80))
    assert "30 proposals, at most 1,380 teacher calls" in file.getvalue()


@pytest.mark.parametrize("is_known", [True, False])
def test_the_plan_of_ten_sources_fits_into_80_columns(tmp_path: Path, is_known: bool) -> None:
    recipe, _ = read_recipe(ROOT / "recipes" / "hybrid-120k.yaml")
    forecast = describe_forecast(MadeParts(tmp_path, recipe), "full")
    if is_known:
        rate = Rate(acceptance=0.731, generate_seconds=12.345, label_seconds=0.0012345, n_bytes=3000)
        known = {"rates": dict.fromkeys(list(recipe.sources)[1:], rate), "unknown": {"molecules": "…"}}
        forecast = forecast.model_copy(update=known)
    file = io.StringIO()
    show_forecast(forecast, Console(file=file, width=80))
    table, _, rest = file.getvalue().partition("stage pilot")
    lines = [line.rstrip() for line in table.splitlines()]
    assert len(lines) == 3 + len(recipe.sources)
    for name, source in recipe.sources.items():
        (line,) = (line for line in lines if line.split()[0] == name)
        assert line.split()[1] == source.service
        assert line.split()[4] == str(source.count)
    assert "…" not in table
    assert ("12.3 s" in table) == ("yield" in table) == is_known
    assert rest.count("are unknown") == 1


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("name", ["clusters", "clusters_of_a_name_that_is_very_long"])
def test_a_narrow_terminal_cuts_off_what_is_under_way_but_no_count(width: int, name: str) -> None:
    file = io.StringIO()
    row = {"wanted": 2000, "shards": 9, "labelled": 1900, "generated": 1950, "in_work": {"generate": 2}, "rejected": {"duplicate": 4}}
    status = Status.model_validate({"name": "small", "state": "running", "stages": ["full"], "sources": {name: row}})
    with LiveView(Console(file=file, width=width, force_terminal=True, color_system=None, _environ={"TERM": "xterm"})) as view:
        view.show(status)
    lines = {line.rstrip() for line in re.split(r"[\r\n]|\x1b\[[0-9;?]*[A-Za-z]", file.getvalue())}
    (line,) = (line for line in lines if "clusters" in line and "━━━" in line)
    assert "1900/2000" in line
    assert len(line) <= width


def test_a_terminal_of_80_columns_shows_the_time_left() -> None:
    file = io.StringIO()
    console = Console(file=file, width=80, force_terminal=True, color_system=None, _environ={"TERM": "xterm"})
    with LiveView(console) as view:
        view._rates.describe = lambda name, missing: "0.46/s" + ", about 65 min left" * (missing is not None)  # type: ignore[method-assign]
        row = {"wanted": 9000, "shards": 90, "labelled": 1900, "generated": 1950, "in_work": {"label": 2}}
        shown = {"name": "small", "state": "running", "stages": ["full"], "sources": {"molecules": row, "clusters": row}}
        view.show(Status.model_validate(shown))
    assert "about 65 min left" in file.getvalue()


def test_a_terminal_that_can_write_no_line_anew_has_lines() -> None:
    assert isinstance(choose_view(Console(force_terminal=True, _environ={"TERM": "dumb"})), LineView)
    assert isinstance(choose_view(Console(force_terminal=True, _environ={"TERM": "xterm"})), LiveView)


def test_what_is_tried_again_is_said_once_and_that_all_answer_once_they_do() -> None:
    story, at = Story(), {"kind": "unavailable", "tries": 1, "since": 0.0, "next_try": 1.0}
    told = [
        story.tell_retries(
            Status.model_validate({"name": "a", "state": "running", "retries": [{**at, "service": s, "detail": s} for s in away]})
        )
        for away in (["ase is still loading", "rdkit is still loading"], ["rdkit is still loading"], [], [])
    ]
    assert told == [["ase is still loading; trying again", "rdkit is still loading; trying again"], [], ["all are there now"], []]
