"""The machine: the cores and the memory that this process may use, how many workers they carry, and what its processor can do."""

import ctypes
import os
import platform
from math import ceil
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_CPU_INFO = Path("/proc/cpuinfo")
_DECISIVE = ("avx", "avx2", "fma", "fma4", "avx512f", "avx512_fp16", "asimd", "sve", "sve2")
"""Features by which numpy, OpenBLAS and the C library choose among kernels whose last bits differ, by the kernel's names."""


def count_cores(cgroup: Path = _CGROUP) -> int:
    """Cores this process may run on: those of its affinity, at most what the container's quota of CPU time amounts to, rounded up."""
    return max(1, ceil(min(len(os.sched_getaffinity(0)), _find_quota(cgroup))))


def _find_quota(cgroup: Path) -> float:
    """The container's CPU time over wall time; infinity without a limit. In cgroup v2 `max 100000` or `200000 100000`, µs."""
    files = ((cgroup / "cpu.max",), (cgroup / "cpu" / "cpu.cfs_quota_us", cgroup / "cpu" / "cpu.cfs_period_us"))
    for paths in files:
        try:
            quota, period = (int(word) for path in paths for word in path.read_text().split())
        except (OSError, ValueError):  # not this version of cgroups, or "max"
            continue
        if quota > 0 and period > 0:
            return quota / period
    return float("inf")


def find_memory(cgroup: Path = _CGROUP) -> int:
    """Bytes of memory this process may use: the container's limit where there is one, at most what the machine has."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in (cgroup / "memory.max", cgroup / "memory" / "memory.limit_in_bytes"):
        try:
            found.append(int(path.read_text()))
        except (OSError, ValueError):  # not this version of cgroups, or "max"
            continue
    return min(found)


def count_workers(memory_each: int, n_cores: int | None = None, memory: int | None = None) -> int:
    """Workers where the settings say nothing: one a core, as far as the memory carries them, at least one.

    memory_each      bytes for each worker
    n_cores, memory  what this process may use, if absent
    """
    n_cores = count_cores() if n_cores is None else n_cores
    memory = find_memory() if memory is None else memory
    return max(1, min(n_cores, memory // memory_each))


def describe_processor(cpu_info: Path = _CPU_INFO) -> str:
    """The kind of this processor and its features by which libraries choose their kernels: `x86_64 avx avx2 fma`."""
    try:
        lines = cpu_info.read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    words = next((line.partition(":")[2].split() for line in lines if line.lower().startswith(("flags", "features"))), [])
    return " ".join((platform.machine(), *(feature for feature in _DECISIVE if feature in words)))


def return_free_memory() -> None:
    """Give what the C library keeps of freed memory back to the system; nothing where it is another than glibc.

    It keeps the holes that arrays leave between what stays, tens of MB of a long run. Takes some milliseconds.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
