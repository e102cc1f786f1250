"""A Generator from a generative model: batches drawn until n structures are good, on one device, one batch at a time."""

import logging
import random
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch

from contract.device import is_out_of_memory, release_cuda_memory
from contract.generator import Made, Progress, Stop, Stopped, Task
from contract.identity import derive_seed
from contract.messages import Message, Metadata
from contract.problems import OutOfMemory
from contract.proposals import Proposal, accept_outcome, finish_proposal
from contract.structures import System

ATTEMPTS_PER_STRUCTURE = 10
"""A task for n structures draws at most this many times n samples."""
_LEAST_ACCEPTANCE = 0.25
_log = logging.getLogger("distillery")
_device_lock = threading.Lock()
"""One batch at a time in this process: models share the device and the global random states that upstream draws from."""

Report = Callable[[float], None]
"""Told which share of a batch is done (0..1), often; raises Stopped once the work is abandoned."""


class BatchFailed(Exception):
    """Upstream's sampler failed on a whole batch (a singular cell, NaN); it is drawn again in halves, and alone counted as `reason`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Model(Protocol):
    """A generative model. All is called from one thread at a time."""

    @property
    def metadata(self) -> Metadata: ...

    @property
    def options(self) -> Mapping[System, type[Message]]: ...

    @property
    def batch(self) -> int:
        """Most samples at once."""

    @property
    def threads(self) -> int:
        """Threads of the CPU."""

    def load(self) -> None:
        """Load upstream's code and the weights; Unavailable says what is missing and where to put it."""

    def check(self, task: Task) -> None:
        """Raise Unsupported if this task can't be done at all."""

    def draw(self, task: Task, n: int, seed: int, report: Report) -> Sequence[Proposal | str]:
        """n samples as one batch, each a proposal or the reason why it is none.

        torch, numpy and random are seeded with `seed` before. BatchFailed if upstream gave nothing; out of memory is torch's own error.
        """

    def close(self) -> None:
        """Let go of the device's memory."""


class SampledGenerator:
    """A `contract.generator.Generator` that draws from a Model. The samples depend on the seed and the sizes of the batches."""

    def __init__(self, model: Model) -> None:
        self._model = model

    @property
    def metadata(self) -> Metadata:
        return self._model.metadata

    @property
    def options(self) -> Mapping[System, type[Message]]:
        return self._model.options

    def load(self) -> None:
        self._model.load()

    def check(self, task: Task) -> None:
        self._model.check(task)

    def close(self) -> None:
        with _device_lock:
            self._model.close()

    def generate(self, task: Task, stop: Stop, progress: Progress) -> Made:
        """See `contract.generator.Generator`."""
        made, keys = Made(), set[str]()
        pending: deque[int] = deque()
        limit, batch = self._model.batch, 0
        while len(made.structures) < task.n and (pending or made.attempts < _budget(task)):
            n = pending.popleft() if pending else min(limit, _ask_for(made, task), _budget(task) - made.attempts)
            batch += 1
            try:
                samples = self._draw(task, n, batch, stop, _scaled(progress, made, task, n))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if n == 1:
                    raise OutOfMemory(f"{self.metadata.service} has no memory for a single structure of this request") from error
                limit = n // 2
                _log.warning("%s has no memory for %d samples at once, going on with %d", self.metadata.service, n, limit)
                release_cuda_memory()
            except BatchFailed as failure:
                if n > 1:
                    pending.extendleft([n // 2, n - n // 2])
                else:
                    accept_outcome(failure.reason, task, made, keys)
            else:
                _take(samples, task, made, keys)
                progress(len(made.structures), task.n)
        return made

    def _draw(self, task: Task, n: int, batch: int, stop: Stop, report: Callable[[float], None]) -> Sequence[Proposal | str]:
        def go_on(share: float) -> None:
            if stop.is_set():
                raise Stopped
            report(share)

        with _device_lock, _reproducible(self._model.threads):
            go_on(0.0)
            seed = derive_seed(task.seed, "batch", batch)
            seed_everything(seed)
            return self._model.draw(task, n, seed, go_on)


def seed_everything(seed: int) -> None:
    """Seed random, numpy and torch (all devices)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@contextmanager
def watching(module: torch.nn.Module, n_calls: int, report: Report) -> Iterator[None]:
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


def _take(samples: Sequence[Proposal | str], task: Task, made: Made, keys: set[str]) -> None:
    for sample in samples:
        if not isinstance(sample, str):
            sample = finish_proposal(sample, task, np.random.default_rng([task.seed, made.attempts]))
        if len(made.structures) >= task.n:
            return
        accept_outcome(sample, task, made, keys)


def _budget(task: Task) -> int:
    return ATTEMPTS_PER_STRUCTURE * task.n


def _ask_for(made: Made, task: Task) -> int:
    """As many as bring what is missing at the acceptance seen so far."""
    missing = task.n - len(made.structures)
    if not made.attempts:
        return missing
    acceptance = max(len(made.structures) / made.attempts, _LEAST_ACCEPTANCE)
    return -int(-missing // acceptance)


def _scaled(progress: Progress, made: Made, task: Task, n: int) -> Callable[[float], None]:
    before, expected = len(made.structures), min(n, task.n - len(made.structures))
    return lambda share: progress(before + share * expected, task.n)


@contextmanager
def _reproducible(n_threads: int) -> Iterator[None]:
    """Sums in a fixed order: a fixed number of threads, and torch's deterministic kernels where it has them."""
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(before)
