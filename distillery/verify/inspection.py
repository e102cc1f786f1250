"""Structures and labels of all parts or pieces of a dataset.h5 checked, on as many cores as there are."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import h5py

from distillery.runtime.workers import Each, WorkerDied
from distillery.verify.file_checks import Check, conclude, find_repeated
from distillery.verify.structure_checks import CHECKS, Expected, inspect_part

Progress = Callable[[str, int, int], None]
_FIGURES = {
    "finite": "positions, cells, energies, forces and stresses are finite",
    "stresses": "masked exactly where nothing is periodic, zero there",
    "ids": "begin with their shard, none comes twice",
    "digests": "structures and labels of every part agree with its digest",
    "provenance": "source, service, system and shard as the receipts say",
    "chemistry": "every structure passes the checks it had to pass",
    "hashes": "recomputed from the structures, none comes twice",
}


def inspect_all(file: h5py.File, path: Path, expected: Sequence[Expected], each: Each, progress: Progress) -> list[Check]:
    """The checks of structures and labels (`structure_checks.CHECKS`), in order; `path` is where the open file lies, `each` its workers."""
    faults: dict[str, list[str]] = defaultdict(list)
    try:
        for k, found in enumerate(each(partial(inspect_part, path), expected)):
            for check, fault in found:
                faults[check].append(fault)
            progress("inspected", k + 1, len(expected))
    except WorkerDied:
        faults["digests"].append("a worker died reading the file: it is damaged, or memory is too small")
    for check, name in (("ids", "id"), ("hashes", "structure_hash")):
        faults[check] += find_repeated(file, name)
    return [conclude(check, _FIGURES[check], faults[check]) for check in CHECKS]
