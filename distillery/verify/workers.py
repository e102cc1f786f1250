"""Workers of a verification: the same function for many parts, on as many cores as there are, in order."""

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar

from distillery.runtime.machine import count_cores

_STRUCTURES_A_WORKER = 2_000
"""Starting a worker takes as long as inspecting this many structures."""
_AHEAD = 4
"""Parts a worker that may be waiting or done: results lie in memory until their turn."""
Item = TypeVar("Item")
Found = TypeVar("Found")


class Each(Protocol):
    """A `map`."""

    def __call__(self, function: Callable[[Item], Found], items: Iterable[Item], /) -> Iterator[Found]:
        """What the function gives for each item, in order."""
        ...


@contextmanager
def open_workers(n_structures: int) -> Iterator[Each]:
    """A `map` over as many processes as cores, or in this one where so many structures are not worth the start."""
    n = min(n_structures // _STRUCTURES_A_WORKER, count_cores())
    if n < 2:
        yield map
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n, context, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        yield lambda function, items: _map_in_order(pool, _AHEAD * n, function, items)


def _map_in_order(pool: ProcessPoolExecutor, most: int, function: Callable[[Item], Found], items: Iterable[Item]) -> Iterator[Found]:
    pending: deque[Future[Found]] = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) == most:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()
