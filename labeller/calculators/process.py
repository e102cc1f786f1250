"""A worker process from its parent's side: it is started, asked, and killed where it does not answer."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from typing import Any

from distillery.errors import Unavailable
from distillery.runtime.environment import read_environment
from distillery.runtime.stopping import Stop
from distillery.schema.teacher_name import CalculatorName
from distillery.structures.structure import Structure
from labeller.calculators.worker import Failure, Outline
from labeller.teachers.teacher import StructureFailed

LOAD_SECONDS = 900.0
_LOOK_SECONDS = 0.2
_LONGEST_OUTPUT = 2000
_CODE = """
import sys
sys.path[:] = {path!r}
from labeller.calculators.worker import serve_calculator
serve_calculator({descriptor}, {lifeline})
"""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class CalculatorProcess:
    """One worker process; `outline` is there once it is started.

    What it prints goes to a file that nobody sees, of which the last line is told where it dies.
    """

    outline: Outline

    def __init__(self, name: CalculatorName, n_threads: int, stop: Stop) -> None:
        """Start it and wait until its calculator is made; Unavailable says why that failed."""
        self._name, self._stop = name, stop
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        ours, theirs = socket.socketpair()
        self._lifeline, held = socket.socketpair()
        code = _CODE.format(path=sys.path, descriptor=theirs.fileno(), lifeline=held.fileno())
        with theirs, held:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                pass_fds=(theirs.fileno(), held.fileno()),
                start_new_session=True,
                env={**read_environment(), **dict.fromkeys(_THREADS, str(n_threads))},
            )
        self._connection = Connection(ours.detach())
        self.outline = self._load()

    def _load(self) -> Outline:
        try:
            answer = self._ask(self._name, LOAD_SECONDS)
        except StructureFailed as failed:
            raise Unavailable(f"{self._name} could not be made: {failed.detail}") from failed
        if isinstance(answer, Failure):
            self.end()
            raise Unavailable(f"{self._name} could not be made: {answer.said}")
        outline: Outline = answer
        return outline

    def label(self, structure: Structure, seconds: float) -> Any:
        """The calculator's label. StructureFailed if it raises, dies or takes longer; in the last two cases the process is gone."""
        answer = self._ask(structure, seconds)
        if isinstance(answer, Failure):
            raise StructureFailed("teacher_failed", answer.said)
        return answer

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked again."""
        return self._process.poll() is None

    def _ask(self, question: Any, seconds: float) -> Any:
        end = time.monotonic() + seconds
        self._forget_output()
        try:
            self._connection.send(question)
            while not self._connection.poll(_LOOK_SECONDS):
                if self._stop.is_set():
                    self.end()
                    raise Unavailable("the labeller is shutting down; ask again when it is back", retry_after=5)
                if time.monotonic() > end:
                    self.end()
                    raise StructureFailed("teacher_timeout", f"no answer within {seconds:g} s")
            return self._connection.recv()
        except (EOFError, OSError) as error:
            said = self._tell_death()
            self.end()
            raise StructureFailed("teacher_crashed", said) from error

    def _forget_output(self) -> None:
        """Both processes have one place in the file."""
        os.ftruncate(self._output.fileno(), 0)
        os.lseek(self._output.fileno(), 0, os.SEEK_SET)

    def _tell_death(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        code = self._process.returncode
        how = "closed its connection" if code is None else f"ended with {code}" if code >= 0 else f"was killed by {_name_signal(-code)}"
        os.lseek(self._output.fileno(), 0, os.SEEK_SET)
        lines = self._output.read()[-_LONGEST_OUTPUT:].decode("utf-8", "replace").splitlines()
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"its process {how}" + (f": {last}" if last else "")

    def end(self) -> None:
        """Kill it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._connection.close()
        self._lifeline.close()
        self._output.close()


def _name_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
