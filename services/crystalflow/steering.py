"""Steering: the flow of the atoms' types, turned towards the elements that are allowed."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from distillery.structures.structure import numbers_of

N_TYPES = 100
"""Elements that upstream's one-hot types can tell apart; type k is atomic number k + 1."""
_LEAST = 1e-3
"""Probability that an allowed element keeps, for the network's estimates are not exact."""


def encode_elements(network: torch.nn.Module, elements: Sequence[str]) -> Tensor:
    """How the network writes these elements: 0 or 1, shape (n_elements, n_channels)."""
    numbers = torch.tensor(numbers_of(list(elements)), dtype=torch.long)
    encoding: Any = network.type_encoding
    if encoding is None:
        return torch.nn.functional.one_hot(numbers - 1, N_TYPES).float()
    codes: Tensor = encoding.encode_types(numbers.to(encoding.reordered_indices.device))
    return codes.float()


def steer(now: Tensor, flow: Tensor, left: float, codes: Tensor, *, settle: bool) -> Tensor:
    """The flow that leads from `now` to the allowed elements only; shapes (n_atoms, n_channels).

    A flow trained by its mean square error leads to the mean of the end points: `now + left * flow` holds the probabilities of
    the channels. Those of elements (products over their channels) that are not among `codes` are set to zero, the others
    scaled to a sum of 1. Where `settle`, the likeliest takes all.
    """
    channels = (now + left * flow).clamp(min=_LEAST)
    logits = channels.log() @ codes.T
    shares = torch.nn.functional.one_hot(logits.argmax(1), len(codes)).float() if settle else logits.softmax(1)
    return (shares @ codes - now) / left


@contextmanager
def steered(network: torch.nn.Module, elements: Sequence[str], n_steps: int, calls_per_step: int) -> Iterator[None]:
    """Inside, `n_steps` of sampling de novo end at these elements."""
    codes = encode_elements(network, elements).to(next(network.parameters()).device)
    n_calls = 0

    def turn(_: torch.nn.Module, __: tuple[Any, ...], inputs: Mapping[str, Any], output: tuple[Tensor, Tensor, Tensor]) -> Any:
        nonlocal n_calls
        step = n_calls // calls_per_step
        n_calls += 1
        cell, positions, types = output
        return cell, positions, steer(inputs["atom_types"], types, 1 - step / n_steps, codes, settle=step == n_steps - 1)

    decoder: Any = network.decoder
    handle = decoder.register_forward_hook(turn, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
