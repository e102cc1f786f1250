"""Packing, the atom budget, and the queue."""

import numpy as np
import pytest

from distillery.errors import Busy, Unavailable
from distillery.runtime.device import is_fatal, is_out_of_memory
from labeller.batching import AtomBudget, SortedSizes, pack
from labeller.structure_queue import StructureQueue, Ticket
from labeller.teachers.teacher import BudgetRange
from tests.labelling import mixed, water


def pack_all(requests: list[list[int]], budget: int) -> list[list[int]]:
    waiting = [SortedSizes((n, i) for i, n in enumerate(sizes)) for sizes in requests]
    batches = []
    while any(len(w) for w in waiting):
        batches.append([requests[r][i] for r, i in pack(waiting, budget)])
    return batches


def test_every_structure_is_packed_exactly_once_within_the_budget() -> None:
    rng = np.random.default_rng(0)
    requests = [rng.integers(1, 300, 400).tolist() for _ in range(3)]
    batches = pack_all(requests, 1000)
    assert sorted(n for batch in batches for n in batch) == sorted(n for sizes in requests for n in sizes)
    assert max(sum(batch) for batch in batches) <= 1000
    assert np.mean([sum(batch) for batch in batches[:-1]]) > 0.99 * 1000


def test_a_structure_larger_than_the_budget_goes_alone() -> None:
    assert pack_all([[5, 500, 6]], 100) == [[500], [6, 5]]


def test_the_last_atom_of_a_batch_is_used() -> None:
    assert pack_all([[3], [1, 2]], 4) == [[3, 1], [2]]


def test_the_oldest_request_goes_first() -> None:
    waiting = [SortedSizes([(10, 0), (20, 1)]), SortedSizes([(90, 0)])]
    assert pack(waiting, 100) == [(0, 1), (0, 0)]


def test_the_budget_grows_while_batches_fit_and_steps_back_for_a_while() -> None:
    budget = AtomBudget(BudgetRange(100, 1000))
    budget.note_success(40)
    assert budget.limit == 100
    fill(budget, 20)
    assert budget.limit == 1000
    budget.note_out_of_memory(600)
    assert budget.limit == 300
    fill(budget, 10)
    assert budget.limit == 480
    fill(budget, 50)
    assert budget.limit == 1000


def test_a_size_that_never_fits_is_tried_ever_more_rarely() -> None:
    budget, n_failures = AtomBudget(BudgetRange(100, 1000)), 0
    for _ in range(1000):
        if budget.limit > 400:
            budget.note_out_of_memory(budget.limit)
            n_failures += 1
        else:
            budget.note_success(budget.limit)
    assert budget.limit >= 200
    assert 3 <= n_failures <= 12


def test_a_budget_of_one_atom_grows_again() -> None:
    budget = AtomBudget(BudgetRange(100, 100))
    budget.note_out_of_memory(1)
    assert budget.limit == 1
    fill(budget, 300)
    assert budget.limit == 100


def test_only_what_is_clearly_smaller_than_what_fitted_should_fit() -> None:
    budget = AtomBudget(BudgetRange(100, 1000))
    assert budget.should_fit(500)
    budget.note_success(90)
    assert budget.should_fit(30)
    assert not budget.should_fit(31)


def fill(budget: AtomBudget, n_batches: int) -> None:
    for _ in range(n_batches):
        budget.note_success(budget.limit)


def test_the_pool_refuses_what_would_overfill_it_and_what_comes_after_its_end() -> None:
    queue = StructureQueue(limit=10)
    queue.add(Ticket(mixed("p", 30)))
    with pytest.raises(Busy, match="30 structures wait"):
        queue.add(Ticket([water("q/0000")]))
    queue.close(Unavailable("closing time"))
    assert queue.take(100) is None
    with pytest.raises(Unavailable, match="closing time"):
        queue.add(Ticket([water("q/0000")]))


def test_a_cancelled_ticket_leaves_the_pool_at_once() -> None:
    queue = StructureQueue(limit=100)
    first, second = Ticket(mixed("p", 30)), Ticket(mixed("q", 3))
    queue.add(first)
    queue.add(second)
    taken = queue.take(10)
    assert taken is not None
    first.future.cancel()
    assert len(queue) == 3
    assert not taken[0].is_wanted


@pytest.mark.parametrize(
    ("error", "out_of_memory", "fatal"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), True, False),
        (RuntimeError("Failed to allocate 100 bytes on device 'cuda:0'"), True, False),
        (RuntimeError("CUDA error: out of memory"), True, False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True, False),
        (RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`"), True, False),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True, False),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), True, False),
        (MemoryError(), True, False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(handle)`"), False, True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False, True),
        (ValueError("too dense"), False, False),
    ],
)
def test_failures_are_told_apart(error: Exception, out_of_memory: bool, fatal: bool) -> None:
    assert is_out_of_memory(error) == out_of_memory
    assert is_fatal(error) == fatal


def limits_of(budget: AtomBudget, *notes: int) -> list[int]:
    """The limit after each batch: of so many atoms that fitted, or (negative) did not."""
    limits = []
    for n_atoms in notes:
        budget.note_success(n_atoms) if n_atoms > 0 else budget.note_out_of_memory(-n_atoms)
        limits.append(budget.limit)
    return limits


@pytest.mark.parametrize(
    ("notes", "limits"),
    [
        ([89], [100]),  # not full: 90 % of the limit is
        ([90], [150]),
        ([100, 150, 225], [150, 225, 338]),
        ([-120], [60]),  # half of what did not fit
        ([-120, 60, 90, 96], [60, 90, 96, 96]),  # and no further than 80 % of it
        ([-1, 1], [1, 1]),
        ([-3], [1]),
        ([-100, -400], [50, 50]),  # what is larger than the limit says nothing new
        ([-400, 101], [100, 150]),
        ([-100, 300], [50, 300]),  # a structure alone, larger than the limit, that fitted
    ],
)
def test_the_budget_follows_what_fitted(notes: list[int], limits: list[int]) -> None:
    assert limits_of(AtomBudget(BudgetRange(100, 1000)), *notes) == limits


def test_a_size_that_did_not_fit_is_tried_after_16_full_batches_then_32_and_so_on() -> None:
    budget, waits = AtomBudget(BudgetRange(100, 1000)), []
    budget.note_out_of_memory(100)
    for _ in range(3):
        fill(budget, 2)  # back to 80 atoms
        n_full = 2
        while budget.limit <= 80:
            budget.note_success(budget.limit)
            n_full += 1
        waits.append(n_full)
        assert budget.limit == 120
        budget.note_out_of_memory(100)
    assert waits == [16, 32, 64]


def test_what_has_fitted_again_is_followed_by_a_larger_size_after_16_full_batches_each() -> None:
    budget, limits = AtomBudget(BudgetRange(100, 1000)), []
    budget.note_out_of_memory(100)
    for _ in range(60):
        budget.note_success(budget.limit)
        limits.append(budget.limit)
    assert [limits.count(n) for n in (80, 120, 180)] == [14, 16, 16]  # two more on the way to 80


def test_a_failure_that_was_no_trial_does_not_lengthen_the_wait() -> None:
    budget = AtomBudget(BudgetRange(100, 1000))
    for _ in range(5):
        budget.note_out_of_memory(100)
    fill(budget, 17)
    assert budget.limit == 120


def test_what_did_not_fit_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    AtomBudget(BudgetRange(100, 1000)).note_out_of_memory(100)
    assert [(r.name, r.getMessage()) for r in caplog.records] == [
        ("distillery", "a batch of 100 atoms did not fit into memory; the budget is 50 atoms now, at most 80")
    ]
