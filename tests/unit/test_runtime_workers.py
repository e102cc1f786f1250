"""Workers give what `map` does, in order and not far ahead, an error where it came up, and never run the user's script again."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from distillery.runtime import workers
from distillery.runtime.workers import WorkerDied, WorkerPool, open_workers
from tests.datasets import write_dataset
from tests.labelling import mixed


def halve(number: int) -> int:
    """ValueError for odd numbers."""
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number // 2


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("n_structures", [10, 1_000_000])
def test_results_come_in_order_and_an_error_in_its_place(monkeypatch: pytest.MonkeyPatch, n_structures: int) -> None:
    monkeypatch.setattr(workers, "count_cores", lambda: 2)
    with open_workers(n_structures) as each:
        results = each(halve, [*range(0, 60, 2), 1])
        assert [next(results) for _ in range(30)] == list(range(30))
        with pytest.raises(ValueError, match="1 is odd"):
            next(results)


def test_only_a_few_results_are_ahead_of_the_one_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "count_cores", lambda: 2)
    taken: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(0, 200, 2):
            taken.append(number)
            yield number

    with open_workers(1_000_000) as each:
        results = each(halve, numbers())
        next(results)
        assert len(taken) == 8
        assert list(results) == list(range(1, 100))


def test_a_worker_that_is_killed_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "count_cores", lambda: 2)
    with open_workers(1_000_000) as each, pytest.raises(WorkerDied, match="memory was too small for it, or it was killed"):
        list(each(die, [1, 2]))


def die_once(mark: str) -> int:
    """The process's id, the second time."""
    if not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def test_workers_of_a_pool_stay_and_one_that_dies_costs_another_try(tmp_path: Path) -> None:
    async def use() -> None:
        pool = WorkerPool(1)
        try:
            assert await asyncio.gather(*(pool.run(halve, n) for n in (2, 4, 6))) == [1, 2, 3]
            with pytest.raises(ValueError, match="1 is odd"):
                await pool.run(halve, 1)
            first = await pool.run(os.getpid)
            assert first == await pool.run(os.getpid) != os.getpid()
            again = await pool.run(die_once, str(tmp_path / "mark"))
            assert again not in (first, os.getpid())
            with pytest.raises(WorkerDied, match="a worker process died"):
                await pool.run(die, 1)
            assert await pool.run(halve, 8) == 4
        finally:
            pool.close()

    asyncio.run(use())


_SCRIPT = """\
import sys
from distillery import export_extxyz
from distillery.runtime import workers

print("begun")
workers.STRUCTURES_A_WORKER, workers.count_cores = 10, lambda: 2
print(export_extxyz(sys.argv[1], sys.argv[2]))
"""


def test_a_script_without_a_guard_is_not_run_again_by_each_worker(tmp_path: Path) -> None:
    write_dataset(tmp_path / "dataset.h5", mixed("t", 30))
    (tmp_path / "script.py").write_text(_SCRIPT)
    command = [sys.executable, "script.py", "dataset.h5", "out.extxyz"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout.split(), done.stderr) == (["begun", "30"], "")
