"""How many workers a machine carries."""

from pathlib import Path

import pytest

from labeller.machine import count_workers, find_memory

GIB = 2**30


@pytest.mark.parametrize(
    ("device", "n_cores", "memory", "expected"),
    [("cpu", 2, 24 * GIB, 2), ("cpu", 16, 8 * GIB, 2), ("cpu", 4, 2 * GIB, 1), ("cuda", 16, 128 * GIB, 1)],
)
def test_a_cpu_has_one_worker_a_core_as_far_as_memory_goes(device: str, n_cores: int, memory: int, expected: int) -> None:
    assert count_workers(device, n_cores, memory) == expected


def test_the_containers_limit_counts_where_it_is_the_smaller(tmp_path: Path) -> None:
    (tmp_path / "limited").write_text("8589934592\n")
    (tmp_path / "unlimited").write_text("max\n")
    (tmp_path / "huge").write_text("9223372036854771712\n")
    machine = find_memory(())
    assert machine > 2**28
    assert find_memory((tmp_path / "absent", tmp_path / "limited")) == min(8 * GIB, machine)
    assert find_memory((tmp_path / "unlimited", tmp_path / "huge")) == machine
