"""A Generator from a generative model: batches drawn until n structures are good, on one device, one batch at a time."""

import logging
import math
import random
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np

from distillery.errors import OutOfMemory, Problem, Unavailable
from distillery.generators.generator import Made, Progress, Task
from distillery.generators.models.model import BatchFailed, Loaded, Model, ReportProgress
from distillery.generators.proposals import Proposal, accept_outcome, finish_proposal
from distillery.runtime.device import (
    DeviceLost,
    choose_device,
    is_fatal,
    is_out_of_memory,
    name_device,
    release_cuda_memory,
    without_frames,
)
from distillery.runtime.stopping import Stop, Stopped
from distillery.schema.base import Message
from distillery.schema.generate import Metadata
from distillery.structures.identity import derive_seed
from distillery.structures.structure import System

ATTEMPTS_PER_STRUCTURE = 10
"""A task for n structures draws at most this many times n samples."""
_LEAST_ACCEPTANCE = 0.25
_SPARE = 1.65
"""Standard deviations of what a batch brings that are drawn beyond its mean, where the acceptance is told: 95 of 100 batches suffice."""
_log = logging.getLogger("distillery")
_device_lock = threading.Lock()
"""One batch at a time in this process: models share the device and the global random states that upstream draws from."""


class SampledGenerator:
    """A `distillery.generators.generator.Generator` that draws from a Model. The samples depend on the seed and the sizes of the batches.

    loaded  what the model brought; None before `load` and after `close`
    """

    def __init__(self, model: Model[Any]) -> None:
        self._model = model
        self._closing = threading.Event()
        self._device_name = ""
        self.loaded: Loaded[Any] | None = None

    @property
    def metadata(self) -> Metadata:
        """The model's card with what the samples depend on besides."""
        settings, loaded = self._model.settings, self.loaded
        card = self._model.describe(loaded)
        versions = {"torch": version("torch"), "threads": str(settings.threads), "batch": str(settings.batch)}
        versions |= {} if settings.acceptance == 1 else {"acceptance": str(settings.acceptance)}
        if loaded is not None:
            versions |= {"upstream": loaded.upstream, "device": self._device_name, "checkpoint": loaded.checkpoint}
        sha256 = None if loaded is None else loaded.sha256
        return card.model_copy(update={"versions": {**card.versions, **versions}, "weights_sha256": sha256})

    @property
    def options(self) -> Mapping[System, type[Message]]:
        return self._model.options

    def load(self) -> None:
        """Choose the device and load the model onto it."""
        settings = self._model.settings
        device = choose_device(settings.device, f"{settings.model_config['env_prefix']}DEVICE")
        self._device_name = name_device(device)
        self.loaded = self._model.load(device, self._closing)

    def check(self, task: Task) -> None:
        self._model.check(task, self.require())

    def close(self) -> None:
        """Give up a load that is under way, wait for a batch that is, and release the device's memory."""
        self._closing.set()
        with _device_lock:
            self.loaded = None
            release_cuda_memory()

    def require(self) -> Loaded[Any]:
        """What `load` brought; Unavailable before it has."""
        if self.loaded is None:
            raise Unavailable(f"{self.metadata.service} is not loaded yet; ask again once it is ready")
        return self.loaded

    def generate(self, task: Task, stop: Stop, progress: Progress) -> Made:
        """See `Generator`. Afterwards an idle model holds no more of the device's memory than its weights."""
        try:
            return self._generate(task, stop, progress)
        except (Stopped, Problem) as error:
            raise without_frames(error) from None
        finally:
            release_cuda_memory()

    def _generate(self, task: Task, stop: Stop, progress: Progress) -> Made:
        made, keys = Made(), set[str]()
        pending: deque[int] = deque()
        limit, batch, show = self._model.settings.batch, 0, _growing(progress)
        expected = self._model.settings.acceptance
        while len(made.structures) < task.n and made.attempts < _budget(task):
            n = min(limit, _budget(task) - made.attempts, pending.popleft() if pending else _ask_for(made, task, expected))
            batch += 1
            try:
                samples = self._try(task, n, batch, stop, _scaled(show, made, task, n))
            except BatchFailed as failure:
                if n > 1:
                    pending.extendleft([n // 2, n - n // 2])
                else:
                    accept_outcome(failure.reason, task, made, keys)
                continue
            if samples is None:
                limit = n // 2
                _log.warning("%s has no memory for %d samples at once, going on with %d", self.metadata.service, n, limit)
                release_cuda_memory()
                continue
            _take(samples, task, made, keys)
            show(len(made.structures), task.n)
        return made

    def _try(self, task: Task, n: int, batch: int, stop: Stop, report: ReportProgress) -> Sequence[Proposal | str] | None:
        """A batch; None where memory does not suffice. OutOfMemory if a single sample is too much, DeviceLost if none can follow."""
        try:
            return self._draw(task, n, batch, stop, report)
        except (RuntimeError, MemoryError) as error:
            if is_fatal(error):
                raise DeviceLost.of(self.metadata.service, error) from error
            if not is_out_of_memory(error):
                raise
            if n == 1:
                raise OutOfMemory(f"{self.metadata.service} has no memory for a single structure of this request") from error
            return None

    def _draw(self, task: Task, n: int, batch: int, stop: Stop, report: ReportProgress) -> Sequence[Proposal | str]:
        """A batch, its samples' origins complete."""

        def go_on(share: float) -> None:
            if stop.is_set():
                raise Stopped
            report(share)

        with _device_lock, _reproducible(self._model.settings.threads):
            go_on(0.0)
            loaded, seed = self.require(), derive_seed(task.seed, "batch", batch)
            seed_everything(seed)
            samples = self._model.draw(task, loaded, n, seed, go_on)
        origin = {"model": self.metadata.service, "checkpoint": loaded.checkpoint, "seed": seed, "batch": n}
        return [_sign(sample, {**origin, "place": place}) for place, sample in enumerate(samples)]


def require_packages(*names: str) -> None:
    """ModuleNotFoundError if a package that a model imports when it is loaded is not installed; none is imported, as that takes seconds."""
    for name in names:
        if find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def seed_everything(seed: int) -> None:
    """Seed random, numpy and torch (all devices)."""
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _sign(sample: Proposal | str, origin: Mapping[str, Any]) -> Proposal | str:
    """The proposal with what is known of every sample's origin."""
    if isinstance(sample, str):
        return sample
    return replace(sample, structures=tuple(replace(s, origin={**s.origin, **origin}) for s in sample.structures))


def _take(samples: Sequence[Proposal | str], task: Task, made: Made, keys: set[str]) -> None:
    for sample in samples:
        if not isinstance(sample, str):
            sample = finish_proposal(sample, task, np.random.default_rng([task.seed, made.attempts]))
        accept_outcome(sample, task, made, keys)


def _budget(task: Task) -> int:
    return ATTEMPTS_PER_STRUCTURE * task.n


def _ask_for(made: Made, task: Task, expected: float) -> int:
    """As many as bring what is missing at the acceptance seen so far; where one is told, at that from the start, with some to spare."""
    missing = task.n - len(made.structures)
    acceptance = max(len(made.structures) / made.attempts, _LEAST_ACCEPTANCE) if made.attempts else expected
    if expected == 1:
        return -int(-missing // acceptance)
    deviation = _SPARE * math.sqrt(acceptance * (1 - acceptance))  # of one sample: m bring m a - sqrt(m) deviation at least
    return math.ceil(((deviation + math.sqrt(deviation**2 + 4 * acceptance * missing)) / (2 * acceptance)) ** 2 - 1e-9)


def _growing(progress: Progress) -> Progress:
    """Tells `progress` the most so far: a batch has less to show for itself once its samples are checked, and may be drawn again."""
    most = 0.0

    def show(made: float, n: int) -> None:
        nonlocal most
        most = max(most, made)
        progress(most, n)

    return show


def _scaled(progress: Progress, made: Made, task: Task, n: int) -> ReportProgress:
    before, expected = len(made.structures), min(n, task.n - len(made.structures))
    return lambda share: progress(before + share * expected, task.n)


@contextmanager
def _reproducible(n_threads: int) -> Iterator[None]:
    """Sums in a fixed order and whole float32: a fixed number of threads, torch's deterministic kernels where it has them, no TF32.

    An orb teacher in the same process sets the precision of products to "high" (TF32 on a GPU) for all.
    """
    import torch

    n_before, before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warned_only, precision = torch.is_deterministic_algorithms_warn_only_enabled(), torch.get_float32_matmul_precision()
    torch.set_num_threads(n_threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.use_deterministic_algorithms(before, warn_only=warned_only)
        torch.set_num_threads(n_before)
