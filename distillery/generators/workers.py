"""Worker processes: forked from one that has imported what they need, and computing with the same kernels on every processor.

numpy, OpenBLAS and the C library (sin, exp, pow, ...) choose their kernels by the processor, and that decides the last bit of a
result. A last bit is not harmless: where two supercells fit equally well, it chooses between them, and a minimisation of thousands
of steps ends elsewhere. So workers use what every x86-64 processor has.
"""

import multiprocessing
import os
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from multiprocessing import forkserver
from typing import TypeVar

import numpy as np

from distillery.errors import Internal, Unavailable
from distillery.runtime.environment import change_environment, read_environment
from distillery.runtime.stopping import Stop, Stopped
from distillery.runtime.workers import die_with_parent

T = TypeVar("T")
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""Workers are forked, which only a process of one thread may do safely: these two libraries start threads when they are imported."""
_PINNED_MACHINE = "x86_64"
"""Others are not pinned."""
_OLDEST_CORE = "Nehalem"
"""OpenBLAS' name for the least processor that numpy runs on."""
_PLAIN_LIBM = "glibc.cpu.hwcaps=-FMA,-FMA4,-FMA_Usable,-FMA4_Usable"
"""Fused multiplications are what the C library's variants differ by; names with _Usable are those before glibc 2.33, unknown ones no error.

https://sourceware.org/glibc/manual/latest/html_node/Hardware-Capability-Tunables.html
"""
_SETTLING_SECONDS = 0.5
"""After a death: a fork server that was killed closes its socket a moment before it counts as dead and is started anew."""
_preloaded: set[str] = set()
"""Modules that workers are forked with; of effect until the first worker of this process starts."""


class Workers:
    """Up to `n_workers` processes of a service, started as they are needed; safe to use from several threads.

    module   imported once, for all workers of this process
    prepare  called in each before its first work
    """

    def __init__(self, service: str, n_workers: int, module: str, prepare: Callable[[], None] | None = None) -> None:
        self.n_workers = n_workers
        self._service, self._prepare = service, prepare
        self._pool: ProcessPoolExecutor | None = None
        self._is_closed = False
        self._lock = threading.Lock()
        _preloaded.add(module)

    def load(self) -> None:
        """Start the first and wait for it."""
        self.run(lambda pool: submit(pool, os.getpid).result(), "starting")

    def run(self, work: Callable[[ProcessPoolExecutor], T], name: str) -> T:
        """What `work` makes of the pool. Where a worker dies on the way it is called once more, then it is Internal, which says `name`."""
        try:
            return work(self._open())
        except BrokenProcessPool:
            self._end()
        time.sleep(_SETTLING_SECONDS)
        try:
            return work(self._open())
        except BrokenProcessPool as error:
            self._end()
            raise Internal(f"a worker of {self._service} died twice on {name} (out of memory?)") from error

    def close(self) -> None:
        """End the workers, for good."""
        with self._lock:
            self._is_closed = True
        self._end()

    def _open(self) -> ProcessPoolExecutor:
        with self._lock:
            if self._is_closed:
                raise Unavailable(f"{self._service} is shutting down")
            if self._pool is None:
                environment = {**_ONE_THREAD, **_find_pins()}
                _start_fork_server(environment)
                context = multiprocessing.get_context("forkserver")
                self._pool = ProcessPoolExecutor(self.n_workers, context, _start_worker, (environment, self._prepare))
            return self._pool

    def _end(self) -> None:
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)


def submit(pool: ProcessPoolExecutor, work: Callable[..., T], *arguments: object) -> Future[T]:
    """Submit work, which may start a worker; BrokenProcessPool if the process that it would be forked from has died."""
    try:
        with _deaf_to_interrupts():
            return pool.submit(work, *arguments)
    except (EOFError, ConnectionError) as error:
        raise BrokenProcessPool(f"a worker can't be forked: {error}") from error


def wait_for(future: Future[T], stop: Stop) -> T:
    """What became of submitted work; Stopped once `stop` is set."""
    while True:
        if stop.is_set():
            raise Stopped
        try:
            return future.result(timeout=0.1)
        except TimeoutError:
            if future.done():  # the work's own, or it has ended just now
                return future.result()


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """A process that is started meanwhile is born deaf to Ctrl-C, which is its parent's to handle."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_fork_server(environment: Mapping[str, str]) -> None:
    """Start the process that workers are forked from, if it does not run, with what they are to have in their environment."""
    multiprocessing.set_forkserver_preload(sorted(_preloaded))
    with change_environment(environment), _deaf_to_interrupts():
        forkserver.ensure_running()


@cache
def _find_pins() -> dict[str, str]:
    """Variables by which numpy, OpenBLAS and the C library, once loaded, do here what they do on every x86-64 processor."""
    if platform.machine() != _PINNED_MACHINE:
        return {}
    tunables = [read_environment().get("GLIBC_TUNABLES", ""), _PLAIN_LIBM]  # the last of a name holds
    return {
        "OPENBLAS_CORETYPE": _OLDEST_CORE,
        "NPY_DISABLE_CPU_FEATURES": " ".join(_list_optional_features()),
        "GLIBC_TUNABLES": ":".join(filter(None, tunables)),
    }


def _list_optional_features() -> list[str]:
    """What numpy makes use of beyond its baseline, on processors that have it, by numpy's own names."""
    extensions = np.show_config(mode="dicts")["SIMD Extensions"]
    return [*extensions.get("found", []), *extensions.get("not found", [])]


def _start_worker(environment: Mapping[str, str], prepare: Callable[[], None] | None) -> None:
    _require_environment(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    if prepare is not None:
        prepare()


def _require_environment(environment: Mapping[str, str]) -> None:
    """End this worker and the process that it was forked from if that was started without: by somebody else, or by the pool after a death.

    The pool breaks of it, and `Workers.run` starts both anew.
    """
    if any(os.environ.get(name) != value for name, value in environment.items()):
        os.kill(os.getppid(), signal.SIGKILL)
        os._exit(1)
