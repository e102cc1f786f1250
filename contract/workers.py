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
from functools import partial
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""Workers are forked, which only a process of one thread may do safely: these two libraries start threads when they are imported."""
_OLDEST_CORE = {"x86_64": "Nehalem"}
"""OpenBLAS' name for the least processor that numpy runs on, by machine; others are not pinned."""
_preloaded: set[str] = set()


def preload(module: str) -> None:
    """Have workers forked with this module imported; of effect until the first worker of this process has started."""
    _preloaded.add(module)


def open_pool(n_workers: int, start: Callable[..., None], *arguments: object) -> ProcessPoolExecutor:
    """A pool of up to `n_workers` processes, started by `submit` as they are needed; `start` prepares each.

    Sets variables of this process' environment, which its workers inherit. What has been imported here reads them no more.
    """
    os.environ.update(_ONE_THREAD)
    if platform.machine() in _OLDEST_CORE:
        os.environ["OPENBLAS_CORETYPE"] = _OLDEST_CORE[platform.machine()]
        os.environ["NPY_DISABLE_CPU_FEATURES"] = " ".join(_list_optional_features())
    multiprocessing.set_forkserver_preload(sorted(_preloaded))
    context = multiprocessing.get_context("forkserver")
    return ProcessPoolExecutor(n_workers, context, partial(_start_worker, start, *arguments))


def submit(pool: ProcessPoolExecutor, work: Callable[..., T], *arguments: object) -> Future[T]:
    """Submit work; a process that this starts is born deaf to Ctrl-C, which is its parent's to handle."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(work, *arguments)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _list_optional_features() -> list[str]:
    """What numpy makes use of beyond its baseline, on processors that have it, by numpy's own names."""
    extensions = np.show_config(mode="dicts")["SIMD Extensions"]
    return [*extensions.get("found", []), *extensions.get("not found", [])]


def _start_worker(start: Callable[..., None], *arguments: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    start(*arguments)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
