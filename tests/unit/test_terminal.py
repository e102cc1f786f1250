"""Terminals: any encoding will do, what is under way is shown, Ctrl-C is acknowledged; on real pseudo-terminals."""

import asyncio
import logging
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.__main__ import main as begin_command
from cli.app import run_until_signal
from cli.live import LiveView
from cli.main import _end_with
from cli.terminal import Console
from distillery.errors import Internal
from distillery.runtime.logs import TextFormatter
from tests.command import ROOT, distillery

SAY = """
from cli.terminal import write_in_any_encoding
write_in_any_encoding()
print("✓ done … é ≥ 3 Å → ⠋ 水 \\udcff")
"""


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("ascii", b"+ done ... e >= 3 A -> * ? ?\n"),
        ("latin-1", b"+ done ... \xe9 >= 3 \xc5 -> * ? ?\n"),
        ("utf-8", "✓ done … é ≥ 3 Å → ⠋ 水 ?\n".encode()),
    ],
)
def test_what_an_encoding_lacks_is_written_plainly(encoding: str, said: bytes) -> None:
    done = subprocess.run([sys.executable, "-c", SAY], env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True, check=True)
    assert done.stdout == said


@pytest.mark.parametrize(
    "command", ["--help", "run --help", "schema", "services rdkit", "weights list", "run RECIPE --dry-run", "check BAD"]
)
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_no_command_fails_for_its_encoding(tmp_path: Path, command: str, encoding: str) -> None:
    (tmp_path / "é水.yaml").write_text("teacher: 水\n", encoding="utf-8")
    words = command.replace("RECIPE", str(ROOT / "recipes" / "quickstart.yaml")).replace("BAD", "é水.yaml").split()
    done = subprocess.run(
        [sys.executable, "-m", "cli", *words], cwd=tmp_path, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding}
    )
    assert b"Encod" not in done.stderr
    assert b"Traceback" not in done.stderr
    assert done.returncode == (1 if "BAD" in command else 0), done.stderr


HOSTILE = "a\x1b]0;title\x1b[2J\x9b31m\u202eb"
SHOWN = r"a\x1b]0;title\x1b[2J\x9b31m\u202eb"
STEERS = ("\x1b]", "\x1b[2J", "\x9b", "\u202e")


def print_problem() -> None:
    with pytest.raises(SystemExit):
        _end_with(Internal(HOSTILE))


def print_progress() -> None:
    with LiveView(Console(force_terminal=True, width=100)) as view:
        view.say(HOSTILE)
        view.tell(HOSTILE)


def print_log() -> None:
    print(TextFormatter().format(logging.LogRecord("distillery", logging.ERROR, "", 1, HOSTILE, (), None)))


@pytest.mark.parametrize("show", [print_problem, print_progress, print_log])
def test_what_others_say_does_not_steer_the_terminal(show: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> None:
    show()
    shown = "".join(capsys.readouterr())
    assert SHOWN in shown, repr(shown)
    assert [sign for sign in STEERS if sign in shown] == []


def test_every_command_prints_by_the_console_that_shows_them() -> None:
    theirs = [path.name for path in (ROOT / "cli").glob("*.py") if re.search(r"from rich\.console import .*\bConsole\b", path.read_text())]
    assert theirs == []


_STYLES = re.compile(r"\x1b\[[0-9;?]*[A-JL-Za-z]")
"""Colours and the like; of a line the part that is wiped stays marked, by `\x1b[2K`."""


class Terminal:
    """A command in a pseudo-terminal."""

    def __init__(self, code: str, *arguments: str) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.execvpe(sys.executable, [sys.executable, "-c", code, *arguments], {**os.environ, "COLUMNS": "100", "TERM": "xterm"})
        self.written = ""

    def read_until(self, pattern: str, seconds: float = 60) -> float:
        """Wait for what it writes; how long that took, s."""
        began = time.monotonic()
        while not re.search(pattern, self.written):
            assert time.monotonic() - began < seconds, self.written
            if select.select([self._fd], [], [], 0.1)[0]:
                try:
                    self.written += _STYLES.sub("", os.read(self._fd, 65536).decode(errors="replace"))
                except OSError:  # it has ended
                    assert re.search(pattern, self.written), self.written
        return time.monotonic() - began

    def press_ctrl_c(self) -> None:
        os.write(self._fd, b"\x03")

    def end(self) -> int:
        """Its exit code."""
        self.read_until(r"Stopped\.[^\n]*\n")
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


RUN = """
import asyncio, sys, time
import cli.local
from cli.main import main

async def hang(*_):
    for _ in range(100):
        time.sleep(0.1)  # as an import does: the event loop stands still
    await asyncio.to_thread(time.sleep, 60)
    yield

from contextlib import asynccontextmanager
cli.local.run_embedded = asynccontextmanager(hang)
sys.argv = ["distillery", "run", *sys.argv[1:]]
main()
"""


def test_loading_shows_the_time_and_ctrl_c_is_acknowledged_at_once_even_while_nothing_else_can_run(tmp_path: Path) -> None:
    terminal = Terminal(RUN, str(ROOT / "recipes" / "quickstart.yaml"), "--data", str(tmp_path))
    terminal.read_until("0:00:01 loading teacher 7net-0 and the services")
    terminal.press_ctrl_c()
    assert terminal.read_until("stopping: ") < 1
    began = time.monotonic()
    assert terminal.end() == 130
    assert time.monotonic() - began < 3, "it does not wait for what is being loaded"
    assert "No shard was finished, so nothing is kept." in terminal.written


CHECK = """
import asyncio, sys, time
import cli.check
from cli.main import main

async def hang(*_):
    time.sleep(3)  # as an import does
    await asyncio.sleep(60)

cli.check._ask_here = hang
sys.argv = ["distillery", "check", *sys.argv[1:]]
main()
"""


def test_ctrl_c_is_acknowledged_while_a_recipe_is_checked(tmp_path: Path) -> None:
    terminal = Terminal(CHECK, str(ROOT / "recipes" / "quickstart.yaml"))
    terminal.read_until("0:00:01 checking ")
    terminal.press_ctrl_c()
    assert terminal.read_until("stopping …") < 1
    assert os.waitstatus_to_exitcode(os.waitpid(terminal.pid, 0)[1]) == 130


LAST_WORDS = """
import asyncio, os, time
from cli.app import run_until_signal

async def work():
    print("at work", flush=True)
    await asyncio.sleep(60)

def end():
    print("Stopped.", flush=True)
    os._exit(130)

try:
    run_until_signal(work(), lambda: print("stopping …", flush=True), end)
except asyncio.CancelledError:
    print("cleaned up", flush=True)
    time.sleep(10)  # as what is kept is counted
"""


def test_a_second_ctrl_c_as_the_last_words_are_said_ends_it_with_them() -> None:
    terminal = Terminal(LAST_WORDS)
    terminal.read_until("at work")
    terminal.press_ctrl_c()
    terminal.read_until("cleaned up")
    terminal.press_ctrl_c()
    terminal.read_until("Stopped.")
    assert terminal.end() == 130
    assert "Traceback" not in terminal.written


def test_a_signal_in_the_middle_of_a_line_is_acknowledged_after_it() -> None:
    """Python refuses to write while it writes."""
    tried = list[int]()

    def acknowledge() -> None:
        tried.append(len(tried))
        if len(tried) == 1:
            raise RuntimeError("reentrant call inside <_io.BufferedWriter name='<stdout>'>")

    async def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(60)

    with pytest.raises(asyncio.CancelledError):
        run_until_signal(work(), acknowledge)
    assert tried == [0, 1]


VERIFY = """
import sys
from cli.verify import _say
from cli.terminal import choose_console, under_way
from distillery.verify.file_checks import Check
from rich.console import Console

console = Console()
with under_way("checking x", choose_console(console)) as tell:
    for name in ("bytes", "layout", "gates"):
        tell(f"reading {name}")
        _say(Check(name, True, "all is well"), console, False)
print("Stopped.")
"""


def test_checks_are_not_written_over_what_is_under_way() -> None:
    terminal = Terminal(VERIFY)
    assert terminal.end() == 0
    lines = re.split(r"\x1b\[2K|\r|\n", terminal.written)
    assert [line for line in lines if "all is well" in line] == [
        "✓ bytes           all is well",
        "✓ layout          all is well",
        "✓ gates           all is well",
    ]


def test_what_is_under_way_is_not_written_into_a_log(tmp_path: Path) -> None:
    done = distillery("check", str(ROOT / "recipes" / "quickstart.yaml"), cwd=tmp_path)
    assert done.output.count("\n") == 1


def test_ctrl_c_before_anything_is_begun_is_a_line_and_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cli.main.main", interrupt)
    with pytest.raises(SystemExit) as ended:
        begin_command()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "\nStopped before anything was begun.\n"
