"""Worker processes: forked from one that has imported what they need, and computing with the same kernels on every processor.

numpy and OpenBLAS choose their kernels by the processor, and that decides the last bit of a result. A last bit is not harmless:
where two supercells fit equally well, it chooses between them. So workers use what every x86-64 processor has.
"""

import multiprocessing
import os
import platform
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import numpy as np

from distillery.errors import Internal, Unavailable
from distillery.runtime.stopping import Stop, Stopped

T = TypeVar("T")
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""Workers are forked, which only a process of one thread may do safely: these two libraries start threads when they are imported."""
_OLDEST_CORE = {"x86_64": "Nehalem"}
"""OpenBLAS' name for the least processor that numpy runs on, by machine; others are not pinned."""
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
        submit(self._open(), os.getpid).result()

    def run(self, work: Callable[[ProcessPoolExecutor], T], name: str) -> T:
        """What `work` makes of the pool. Where a worker dies on the way it is called once more, then it is Internal, which says `name`."""
        try:
            return work(self._open())
        except BrokenProcessPool:
            self._end()
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
                _prepare_environment()
                context = multiprocessing.get_context("forkserver")
                self._pool = ProcessPoolExecutor(self.n_workers, context, _start_worker, (self._prepare,))
            return self._pool

    def _end(self) -> None:
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)


def submit(pool: ProcessPoolExecutor, work: Callable[..., T], *arguments: object) -> Future[T]:
    """Submit work; a process that this starts is born deaf to Ctrl-C, which is its parent's to handle."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(work, *arguments)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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


def _prepare_environment() -> None:
    """Set what workers inherit of this process' environment; what has been imported here reads it no more."""
    os.environ.update(_ONE_THREAD)
    if platform.machine() in _OLDEST_CORE:
        os.environ["OPENBLAS_CORETYPE"] = _OLDEST_CORE[platform.machine()]
        os.environ["NPY_DISABLE_CPU_FEATURES"] = " ".join(_list_optional_features())
    multiprocessing.set_forkserver_preload(sorted(_preloaded))


def _list_optional_features() -> list[str]:
    """What numpy makes use of beyond its baseline, on processors that have it, by numpy's own names."""
    extensions = np.show_config(mode="dicts")["SIMD Extensions"]
    return [*extensions.get("found", []), *extensions.get("not found", [])]


def _start_worker(prepare: Callable[[], None] | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    if prepare is not None:
        prepare()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
