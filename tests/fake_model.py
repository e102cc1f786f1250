"""A generative model that does what a script says, for tests of what draws from it."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from distillery.errors import Unsupported
from distillery.generators.generator import Made, Task, resolve_task
from distillery.generators.models.model import Loaded, ReportProgress, watching
from distillery.generators.models.sampling import SampledGenerator
from distillery.generators.models.settings import ModelSettings
from distillery.generators.proposals import Proposal
from distillery.runtime.stopping import Stop, Stopped
from distillery.schema.base import Message
from distillery.schema.generate import GenerateRequest, Metadata, SystemCard
from distillery.structures.structure import Structure

N_STEPS = 4
Script = Callable[[int, int], Sequence[Proposal | str]]


def make_settings(**changes: Any) -> ModelSettings:
    """On the CPU, at most eight samples at once."""
    return ModelSettings(**{"checkpoint": "small", "device": "cpu", "batch": 8, **changes})


class Options(Message):
    """None."""


def water() -> Structure:
    """A molecule of water whose bonds are of a random length, drawn from numpy's global state."""
    stretch = np.random.uniform(0.98, 1.02)
    positions = stretch * np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
    return Structure("", np.array([8, 1, 1], dtype=np.uint8), positions)


def take_all(batch: int, n: int) -> Sequence[Proposal | str]:
    """The script by which every sample is good."""
    return [Proposal((water(),)) for _ in range(n)]


@dataclass
class Scripted:
    """A model whose batch number k, counted from 0, of n samples is `script(k, n)`, after a network was called N_STEPS times."""

    script: Script = take_all
    settings: ModelSettings = field(default_factory=make_settings)
    network: torch.nn.Module = field(default_factory=torch.nn.Identity)
    sizes: list[int] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    at_step: Callable[[], None] = lambda: None

    @property
    def options(self) -> dict[Any, type[Message]]:
        return {"molecule": Options}

    def describe(self, loaded: Loaded[torch.nn.Module] | None) -> Metadata:
        card = SystemCard(
            min_atoms=1,
            max_atoms=9,
            default_min_atoms=1,
            default_max_atoms=9,
            elements=("H", "O"),
            options_schema=Options.model_json_schema(),
        )
        return Metadata(
            service="scripted", version="1", method="", licence="", systems={"molecule": card}, n_max=100, minimum_distance=0.5,
            versions={"library": "7"},
        )  # fmt: skip

    def load(self, device: str, stop: Stop) -> Loaded[torch.nn.Module]:
        if stop.is_set():
            raise Stopped
        return Loaded(self.network, device, "abc modified", "tiny", "a" * 64)

    def check(self, task: Task, loaded: Loaded[torch.nn.Module]) -> None:
        if task.max_atoms == 1:
            raise Unsupported("an atom is no molecule")

    def draw(self, task: Task, loaded: Loaded[torch.nn.Module], n: int, seed: int, report: ReportProgress) -> Sequence[Proposal | str]:
        self.sizes.append(n)
        self.seeds.append(seed)
        with watching(loaded.networks, N_STEPS, report):
            for _ in range(N_STEPS):
                loaded.networks(torch.zeros(1))
                self.at_step()
        return self.script(len(self.sizes) - 1, n)


def load(model: Scripted) -> SampledGenerator:
    """Its generator, loaded."""
    generator = SampledGenerator(model)
    generator.load()
    return generator


def generate(generator: SampledGenerator, stop: Stop | None = None, progress: Any = lambda made, n: None, **request: Any) -> Made:
    """Five structures unless the request says otherwise."""
    task = resolve_task(GenerateRequest(**{"n": 5, "seed": 1, "elements": ("H", "O"), **request}), generator)
    return generator.generate(task, stop or threading.Event(), progress)
