"""A generative model: what it is given, what it brings when it is loaded, what it draws, and how it says how far it is."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from distillery.generators.generator import Task
from distillery.generators.models.settings import ModelSettings
from distillery.generators.proposals import Proposal
from distillery.runtime.stopping import Stop
from distillery.schema.base import Message
from distillery.schema.generate import Metadata
from distillery.structures.structure import System

if TYPE_CHECKING:
    import torch

N = TypeVar("N")

ReportProgress = Callable[[float], None]
"""Told which share of a batch is done (0..1), often; raises Stopped once the work is abandoned."""


class BatchFailed(Exception):
    """Upstream's sampler failed on a whole batch (a singular cell, NaN); it is drawn again in halves, and alone counted as `reason`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, eq=False)
class Loaded(Generic[N]):
    """What `load` brought: the networks, ready to sample on `device`, and what metadata and origins say of them.

    upstream    version of upstream's code: its commit, with `modified` where it is not that
    checkpoint  its name
    sha256      of its files
    """

    networks: N
    device: str
    upstream: str
    checkpoint: str
    sha256: str


class Model(Protocol[N]):
    """A generative model; all that it loads is in its Loaded.

    `load` and `draw` are called from one thread at a time, the others at any time, also during a `draw`: they change nothing.
    """

    @property
    def settings(self) -> ModelSettings: ...

    @property
    def options(self) -> Mapping[System, type[Message]]: ...

    def describe(self, loaded: Loaded[N] | None) -> Metadata:
        """The card; `versions` need only name libraries of its own, and the digest of the weights is added too."""

    def load(self, device: str, stop: Stop) -> Loaded[N]:
        """Load upstream's code and the weights; Unavailable says what is missing and where to put it, Stopped soon after `stop` is set."""

    def check(self, task: Task, loaded: Loaded[N]) -> None:
        """Raise Unsupported if this task can't be done at all."""

    def draw(self, task: Task, loaded: Loaded[N], n: int, seed: int, report: ReportProgress) -> Sequence[Proposal | str]:
        """n samples as one batch, each a proposal or the reason why it is none.

        torch, numpy and random are seeded with `seed` before; where a sample comes from is added to its origin after.
        BatchFailed if upstream gave nothing; out of memory is torch's own error.
        """


@contextmanager
def watching(module: "torch.nn.Module", n_calls: int, report: ReportProgress) -> Iterator[None]:
    """Inside, every call of `module` reports the share of `n_calls` done; a report that raises leaves the module as it was."""
    done = 0

    def count(*_: object) -> None:
        nonlocal done
        report(min(done / n_calls, 1.0))
        done += 1

    handle = module.register_forward_pre_hook(count)
    try:
        yield
    finally:
        handle.remove()
