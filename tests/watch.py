"""What processes take: CPU seconds and memory, sampled from outside while they live."""

import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_EVERY = 0.2
_PEAK = re.compile(r"VmHWM:\s+(\d+) kB")


@dataclass
class Life:
    """One process, as it was last seen.

    began, seen  s since the epoch
    cpu          seconds of user and system, its children's not counted
    rss, peak    resident memory now and at its most, bytes
    """

    name: str
    began: float
    seen: float = 0.0
    cpu: float = 0.0
    rss: int = 0
    peak: int = 0


class Watch(threading.Thread):
    """Looks at processes again and again."""

    def __init__(self, find: Callable[[], Mapping[psutil.Process, str]] | None = None, every: float = _EVERY) -> None:
        """find  which processes, and what they are called; all children of this one, and theirs, if absent
        every  s
        """
        super().__init__(daemon=True)
        self._find, self._every = find or self._find_children, every
        self._names: dict[int, str] = {}
        self._lives: dict[psutil.Process, Life] = {}
        self._ended = threading.Event()

    def call(self, pid: int, name: str) -> None:
        """Give a child its name; others are called by the module they run, or `<parent>, child`."""
        self._names[pid] = name

    def run(self) -> None:
        while not self._ended.wait(self._every):
            for process, name in self._find().items():
                with suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
                    self._note(process, name)

    def _find_children(self) -> dict[psutil.Process, str]:
        found = dict[psutil.Process, str]()
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                found[process] = self._find_name(process)
        return found

    def close(self) -> None:
        """Stop looking."""
        self._ended.set()
        self.join()

    @property
    def lives(self) -> list[Life]:
        """All processes seen, in the order of their starts."""
        return sorted(self._lives.copy().values(), key=lambda life: life.began)

    def latest(self, name: str) -> Life:
        """The process of that name that was started last."""
        return [life for life in self.lives if life.name == name][-1]

    def _note(self, process: psutil.Process, name: str) -> None:
        peak = _PEAK.search(Path(f"/proc/{process.pid}/status").read_text())
        if peak is None:  # a zombie has no memory any more
            return
        times, rss = process.cpu_times(), process.memory_info().rss
        life = self._lives.setdefault(process, Life("", process.create_time()))
        life.name = name  # of a process just forked it is the parent's
        life.cpu, life.rss, life.seen = times.user + times.system, rss, time.time()
        life.peak = max(life.peak, 1024 * int(peak[1]))

    def _find_name(self, process: psutil.Process) -> str:
        if process.pid in self._names:
            return self._names[process.pid]
        command: list[str] = process.cmdline()
        if "-m" in command:
            return command[command.index("-m") + 1]
        return f"{self._names.get(process.ppid(), ''.join(command[:1]))}, child"  # of one that is starting a program there is no command
