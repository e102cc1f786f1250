"""SampledGenerator with a scripted model: batches, their sizes and failures, and what is counted. Needs no upstream code."""

import weakref
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from distillery.errors import OutOfMemory
from distillery.generators.models import sampling
from distillery.generators.models.model import BatchFailed
from distillery.generators.models.sampling import ATTEMPTS_PER_STRUCTURE
from distillery.generators.proposals import Proposal
from distillery.runtime.device import DeviceLost
from distillery.runtime.stopping import Stopped
from tests.fake_model import N_STEPS, Script, Scripted, generate, load, make_settings, take_all, water

NO_MEMORY = "CUDA out of memory. Tried to allocate 2.00 GiB"


def good_every(nth: int) -> Script:
    """Of all samples ever drawn, each nth is good."""
    drawn = iter(range(10**6))
    return lambda batch, n: [Proposal((water(),)) if next(drawn) % nth == nth - 1 else "bad" for _ in range(n)]


def refuse_above(most: int) -> Script:
    """No memory for more than `most` samples at once."""

    def script(batch: int, n: int) -> Sequence[Proposal | str]:
        if n > most:
            raise torch.OutOfMemoryError(NO_MEMORY)
        return take_all(batch, n)

    return script


def test_batches_are_drawn_until_there_are_n() -> None:
    model = Scripted(settings=make_settings(batch=4))
    made = generate(load(model), n=10)
    assert [s.id for s in made.structures] == [f"scripted-1/{k:04d}" for k in range(10)]
    assert model.sizes == [4, 4, 2]
    assert made.attempts == 10


def test_more_are_drawn_than_are_missing_once_some_were_rejected() -> None:
    model = Scripted(good_every(2))
    made = generate(load(model), n=6)
    assert len(made.structures) == 6
    assert model.sizes == [6, 6]
    assert made.attempts == 12
    assert made.rejected == {"bad": 6}


def test_oversampling_is_bounded_where_nearly_all_is_rejected() -> None:
    model = Scripted(good_every(100), settings=make_settings(batch=1000))
    generate(load(model), n=5)
    assert model.sizes == [5, 20, 20, 5]


def test_a_request_begins_with_as_many_as_bring_n_at_the_acceptance_that_is_told() -> None:
    sizes = {}
    for acceptance in (1.0, 0.8):
        model = Scripted(lambda batch, n: ["bad" if k % 5 == 4 else Proposal((water(),)) for k in range(n)])
        model.settings = make_settings(batch=64, acceptance=acceptance)
        made = generate(load(model), n=40)
        assert len(made.structures) == 40
        sizes[acceptance] = model.sizes
    assert sizes == {1.0: [40, 10], 0.8: [57]}


def test_an_acceptance_that_was_told_too_high_costs_no_more_than_a_second_batch() -> None:
    model = Scripted(good_every(2), settings=make_settings(batch=1000, acceptance=0.999))
    made = generate(load(model), n=40)
    assert len(made.structures) == 40
    assert model.sizes == [41, 54]


def test_an_acceptance_that_was_told_stands_among_the_versions_as_structures_depend_on_it() -> None:
    assert "acceptance" not in load(Scripted()).metadata.versions
    assert load(Scripted(settings=make_settings(acceptance=0.8))).metadata.versions["acceptance"] == "0.8"


def test_the_budget_is_never_exceeded_and_what_came_of_it_is_counted_by_reason() -> None:
    model = Scripted(lambda batch, n: ["odd" if (batch + k) % 2 else "even" for k in range(n)], settings=make_settings(batch=7))
    made = generate(load(model), n=2)
    assert made.structures == []
    assert sum(model.sizes) == made.attempts == 2 * ATTEMPTS_PER_STRUCTURE
    assert made.rejected == {"even": 10, "odd": 10}


def test_samples_beyond_n_are_neither_taken_nor_counted() -> None:
    model = Scripted(lambda batch, n: ["bad"] * n if batch == 0 else take_all(batch, n))
    made = generate(load(model), n=2)
    assert model.sizes == [2, 8]
    assert len(made.structures) == 2
    assert made.attempts == 4


def test_one_bad_sample_never_loses_a_batch() -> None:
    broken = replace(water(), positions=np.full((3, 3), np.nan))
    foreign = replace(water(), numbers=np.array([9, 1, 1], dtype=np.uint8))
    crushed = replace(water(), positions=np.zeros((3, 3)))
    first: list[Proposal | str] = [
        Proposal((broken,)),
        Proposal((water(),)),
        "own reason",
        Proposal((foreign,)),
        Proposal((crushed,)),
        Proposal((water(),)),
    ]
    made = generate(load(Scripted(lambda batch, n: first if batch == 0 else take_all(batch, n))), n=6)
    assert made.rejected == {"not_finite": 1, "own reason": 1, "unknown_element": 1, "atoms_too_close": 1}
    assert [s.origin["place"] for s in made.structures][:2] == [1, 5]
    assert len(made.structures) == 6


def test_what_was_seen_before_is_a_duplicate() -> None:
    generator = load(Scripted(lambda batch, n: [Proposal((water(),), key=str(min(k, 1))) for k in range(n)]))
    for _ in range(2):  # in one request; the next begins anew
        made = generate(generator, n=3)
        assert len(made.structures) == 2
        assert made.rejected == {"duplicate": 3 * ATTEMPTS_PER_STRUCTURE - 2}


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError(NO_MEMORY), MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_memory_that_does_not_suffice_halves_the_batch_for_the_rest_of_the_request(error: Exception) -> None:
    def script(batch: int, n: int) -> Sequence[Proposal | str]:
        if n > 3:
            raise error
        return take_all(batch, n)

    model = Scripted(script)
    made = generate(load(model), n=9)
    assert model.sizes == [8, 4, 2, 2, 2, 2, 1]
    assert len(made.structures) == made.attempts == 9
    assert not made.rejected


def test_a_batch_that_did_not_fit_is_gone_when_the_cache_is_emptied(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = weakref.WeakSet[torch.Tensor]()
    left: list[int] = []

    def script(batch: int, n: int) -> Sequence[Proposal | str]:
        tensor = torch.zeros(n)
        tensors.add(tensor)
        return refuse_above(2)(batch, n)

    monkeypatch.setattr(sampling, "release_cuda_memory", lambda: left.append(len(tensors)))
    generate(load(Scripted(script)), n=4)
    assert left == [0, 0]  # then, and at the end


@pytest.mark.parametrize("error", [None, Stopped(), torch.OutOfMemoryError(NO_MEMORY)])
def test_an_idle_model_holds_nothing_of_its_batches(monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> None:
    tensors = weakref.WeakSet[torch.Tensor]()
    left: list[int] = []

    def script(batch: int, n: int) -> Sequence[Proposal | str]:
        tensor = torch.zeros(n)
        tensors.add(tensor)
        if error is not None:
            raise type(error)(*error.args)  # a new one: the test holds the other, and with it its frames
        return take_all(batch, n)

    monkeypatch.setattr(sampling, "release_cuda_memory", lambda: left.append(len(tensors)))
    with nullcontext() if error is None else pytest.raises((Stopped, OutOfMemory)):
        generate(load(Scripted(script)), n=1)
    assert left == [0]


def test_a_lost_device_is_told_from_a_batch_that_failed() -> None:
    def script(batch: int, n: int) -> Sequence[Proposal | str]:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    model = Scripted(script)
    with pytest.raises(DeviceLost, match="scripted has lost its device"):
        generate(load(model), n=4)
    assert model.sizes == [4]


def test_no_memory_for_a_single_sample_is_a_problem_that_says_so() -> None:
    model = Scripted(refuse_above(0))
    with pytest.raises(OutOfMemory, match="scripted has no memory for a single structure"):
        generate(load(model), n=4)
    assert model.sizes == [4, 2, 1]


def test_a_batch_that_fails_is_halved_until_only_the_bad_sample_is_counted() -> None:
    def script(batch: int, n: int) -> Sequence[Proposal | str]:
        if batch in {0, 1, 3, 4}:  # all 8, of these the first 4, of these the last 2, of these the first
            raise BatchFailed("sampler_failed")
        return take_all(batch, n)

    model = Scripted(script)
    made = generate(load(model), n=8)
    assert model.sizes == [8, 4, 2, 2, 1, 1, 4, 2]
    assert made.rejected == {"sampler_failed": 1}
    assert len(made.structures) == 8
    assert made.attempts == 9


def test_halves_of_a_failed_batch_heed_the_memory_there_is() -> None:
    def script(batch: int, n: int) -> Sequence[Proposal | str]:
        if batch == 0:
            raise BatchFailed("sampler_failed")
        return refuse_above(2)(batch, n)

    model = Scripted(script)
    made = generate(load(model), n=8)
    assert model.sizes == [8, 4, 2, 2, 2, 2]
    assert len(made.structures) == 8


def test_a_sampler_that_always_fails_ends_with_the_budget() -> None:
    def script(batch: int, n: int) -> Sequence[Proposal | str]:
        raise BatchFailed("sampler_failed")

    made = generate(load(Scripted(script)), n=2)
    assert made.structures == []
    assert made.rejected == {"sampler_failed": 2 * ATTEMPTS_PER_STRUCTURE}


def test_other_errors_are_not_swallowed_and_the_device_is_free_again() -> None:
    def script(batch: int, n: int) -> Sequence[Proposal | str]:
        raise RuntimeError("shapes do not match")

    model = Scripted(script)
    generator = load(model)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        generate(generator)
    model.script = take_all
    assert len(generate(generator).structures) == 5


def test_progress_only_grows_and_stays_within_n() -> None:
    steps: list[float] = []
    model = Scripted(good_every(3), settings=make_settings(batch=6))
    generate(load(model), n=7, progress=lambda made, n: steps.append(made / n))
    assert steps == sorted(steps)
    assert 0 == steps[0] < steps[2] < steps[4]
    assert steps[-1] == 1
    assert len(steps) == len(model.sizes) * (N_STEPS + 2)


def test_progress_counts_samples_not_only_batches() -> None:
    steps: list[float] = []
    generate(load(Scripted(settings=make_settings(batch=4))), n=8, progress=lambda made, n: steps.append(made))
    assert steps == [0, 0, 1, 2, 3, 4, 4, 4, 5, 6, 7, 8]
