"""Workers of a verification give what `map` does, in order and not far ahead, and an error where it came up."""

from collections.abc import Iterator

import pytest

from distillery.verify import workers
from distillery.verify.workers import open_workers


def halve(number: int) -> int:
    """ValueError for odd numbers."""
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number // 2


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
