"""How many workers a machine carries, and what its processor can do."""

import os
import platform
from pathlib import Path

import numpy as np
import pytest

from distillery.runtime.machine import count_cores, count_workers, describe_processor, find_memory, return_free_memory

GIB = 2**30


@pytest.mark.parametrize(
    ("memory_each", "n_cores", "memory", "expected"),
    [(4 * GIB, 2, 64 * GIB, 2), (4 * GIB, 16, 16 * GIB, 4), (4 * GIB, 8, GIB, 1), (GIB // 8, 64, 2 * GIB, 16)],
)
def test_one_worker_a_core_as_far_as_the_memory_carries_them(memory_each: int, n_cores: int, memory: int, expected: int) -> None:
    assert count_workers(memory_each, n_cores, memory) == expected


def test_what_is_not_said_is_this_machine() -> None:
    assert count_workers(1) == count_cores()


@pytest.mark.parametrize("name", ["memory.max", "memory/memory.limit_in_bytes"])
def test_the_containers_limit_counts_where_there_is_one(tmp_path: Path, name: str) -> None:
    machine = find_memory(tmp_path)
    assert machine > 2**28
    for text, expected in (("max", machine), (str(2**62), machine), (f"{GIB // 8}\n", GIB // 8)):
        write(tmp_path / name, text)
        assert find_memory(tmp_path) == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 64),
        ({"cpu.max": "max 100000"}, 64),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "1000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
    ],
)
def test_a_quota_of_cpu_time_counts_as_so_many_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    for name, text in files.items():
        write(tmp_path / name, text)
    assert count_cores(tmp_path) == expected


def write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("text", "features"),
    [
        ("processor : 0\nflags\t\t: fpu sse2 fma avx avx2 erms\n\nflags : fpu\n", " avx avx2 fma"),
        ("processor : 0\nFeatures : fp asimd sve\n", " asimd sve"),
        ("processor : 0\n", ""),
    ],
)
def test_a_processor_is_told_by_the_features_that_libraries_choose_by(tmp_path: Path, text: str, features: str) -> None:
    write(tmp_path / "cpuinfo", text)
    assert describe_processor(tmp_path / "cpuinfo") == platform.machine() + features


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_memory_between_what_stays_goes_back_to_the_system() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    arrays = [np.ones(2500) for _ in range(4000)]  # 20 kB each, which glibc takes from its heap
    del arrays[::2], arrays[1::2]
    before = resident()
    return_free_memory()
    assert before - resident() > 30_000_000
