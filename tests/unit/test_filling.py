"""Networks filled with a checkpoint's tensors."""

import threading

import pytest
import torch

from distillery.errors import Unavailable
from distillery.generators.models.filling import build_filled


def build() -> torch.nn.Sequential:
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Embedding(5, 2))
    torch.nn.init.orthogonal_(network[0].weight)
    return network


WEIGHTS = {name: torch.full_like(value, k + 1.0) for k, (name, value) in enumerate(build().state_dict().items())}


def test_the_network_has_the_tensors_and_nothing_was_drawn_before() -> None:
    before = torch.get_rng_state()
    filled = build_filled(build, WEIGHTS, "misfit")
    assert all(torch.equal(value, WEIGHTS[name]) for name, value in filled.state_dict().items())
    assert torch.equal(torch.get_rng_state(), before)


def test_afterwards_and_in_other_threads_networks_begin_at_random() -> None:
    made: list[torch.Tensor] = []

    def build_beside() -> torch.nn.Module:
        thread = threading.Thread(target=lambda: made.append(torch.nn.init.ones_(torch.zeros(2))))
        thread.start()
        thread.join()
        return build()

    build_filled(build_beside, WEIGHTS, "misfit")
    assert made[0].tolist() == [1.0, 1.0]
    assert torch.nn.init.ones_(torch.zeros(2)).tolist() == [1.0, 1.0]


def test_after_a_build_that_fails_too() -> None:
    def fail() -> torch.nn.Module:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        build_filled(fail, WEIGHTS, "misfit")
    assert torch.nn.init.ones_(torch.zeros(2)).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("change", [{"0.weight": torch.zeros(9, 9)}, {"9.weight": torch.zeros(1)}])
def test_tensors_of_another_network_are_refused_with_their_names(change: dict[str, torch.Tensor]) -> None:
    with pytest.raises(Unavailable, match=rf"(?s)^misfit: .*{next(iter(change))}"):
        build_filled(build, {**WEIGHTS, **change}, "misfit")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(value: float) -> None:
    weights = {**WEIGHTS, "0.bias": torch.tensor([0.0, 1.0, value, 2.0])}
    with pytest.raises(Unavailable, match=r"^misfit: 1 of its weights hold NaN or infinity, the first is 0\.bias"):
        build_filled(build, weights, "misfit")
