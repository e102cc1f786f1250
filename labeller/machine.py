"""The machine: the cores and the memory that this process may use, and how many workers they carry."""

import os
from pathlib import Path

MEMORY_PER_WORKER = 4 * 2**30
"""Bytes for each worker on a CPU: a prediction of 7net-0 for 500 atoms takes 2-5 GB there, by their density."""
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def count_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0))


def find_memory(limits: tuple[Path, ...] = _CGROUP_LIMITS) -> int:
    """Bytes of memory this process may use: the container's limit where there is one, at most what the machine has."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in limits:
        try:
            found.append(int(path.read_text()))
        except (OSError, ValueError):  # not this version of cgroups, or "max"
            continue
    return min(found)


def count_workers(device: str, n_cores: int, memory: int) -> int:
    """Threads that predict where the settings say nothing: one on cuda; on a CPU one a core, as far as the memory carries them."""
    return 1 if device == "cuda" else max(1, min(n_cores, memory // MEMORY_PER_WORKER))
