"""Structures and labels of all parts or pieces of a dataset.h5 checked, on as many cores as there are."""

import multiprocessing
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import h5py

from distillery.runtime.machine import count_cores
from distillery.verify.file_checks import Check, conclude, find_repeated
from distillery.verify.structure_checks import CHECKS, Expected, Faults, inspect_part

Progress = Callable[[str, int, int], None]
_STRUCTURES_A_WORKER = 2_000
"""Starting a worker takes as long as inspecting this many structures."""
_FIGURES = {
    "finite": "positions, cells, energies, forces and stresses are finite",
    "stresses": "masked exactly where nothing is periodic, zero there",
    "ids": "begin with their shard, none comes twice",
    "digests": "structures and labels of every part agree with its digest",
    "provenance": "source, service, system and shard as the receipts say",
    "chemistry": "every structure passes the checks it had to pass",
    "hashes": "recomputed from the structures, none comes twice",
}


def inspect_all(file: h5py.File, path: Path, expected: Sequence[Expected], progress: Progress) -> list[Check]:
    """The checks of structures and labels (`structure_checks.CHECKS`), in order; `path` is where the open file lies."""
    faults: dict[str, list[str]] = defaultdict(list)
    try:
        with _workers(len(file["labels/energy"]) // _STRUCTURES_A_WORKER) as each:
            for k, found in enumerate(each(partial(inspect_part, path), expected)):
                for check, fault in found:
                    faults[check].append(fault)
                progress("inspected", k + 1, len(expected))
    except BrokenProcessPool:
        faults["digests"].append("a worker died reading the file: it is damaged, or memory is too small")
    for check, name in (("ids", "id"), ("hashes", "structure_hash")):
        faults[check] += find_repeated(file, name)
    return [conclude(check, _FIGURES[check], faults[check]) for check in CHECKS]


@contextmanager
def _workers(n_wanted: int) -> Iterator[Callable[[Callable[[Expected], Faults], Sequence[Expected]], Iterator[Faults]]]:
    """A `map` over as many processes as cores, or in this one where that is not worth the start."""
    n = min(n_wanted, count_cores())
    if n < 2:
        yield map
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n, context, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        yield pool.map
