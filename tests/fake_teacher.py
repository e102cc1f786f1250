"""A scripted teacher for tests: a simple pair potential that fails on cue. It is never offered to users."""

import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf

import numpy as np
from fastapi import FastAPI

from distillery.dataset.layout import Label
from distillery.runtime.stopping import Stop
from distillery.schema.label import Abilities
from distillery.structures.geometry import find_pairs
from distillery.structures.structure import DEFAULT_ELEMENTS, Structure
from labeller.app import create_labeller
from labeller.settings import LabellerSettings
from labeller.teachers.teacher import CONSERVATIVE, BudgetRange, PhysicsTolerance

CUTOFF = 3.0
SMALL_BUDGET = BudgetRange(64, 64)


UNREAL = replace(CONSERVATIVE, stiffness=inf)
"""Its springs are those of no matter."""


def pair_label(structure: Structure) -> Label:
    """Energy and forces of half the sum of (CUTOFF - r)² over ordered pairs, eV; stress is virial over volume."""
    pairs = find_pairs(structure, CUTOFF)
    gap = CUTOFF - pairs.distance
    pull = (-2 * gap / pairs.distance)[:, None] * pairs.vector
    forces = np.zeros((len(structure), 3))
    np.add.at(forces, pairs.i, pull)
    stress = None
    if structure.is_periodic:
        virial = -0.5 * np.einsum("pa,pb->ab", -pull, pairs.vector) / structure.volume
        stress = virial[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    return Label(float(0.5 * np.sum(gap**2)), forces.astype(np.float32), stress)


class Features(list[Structure]):
    """A batch of structures; like upstream models, `predict` writes its intermediates into it."""

    def __init__(self, structures: Sequence[Structure]) -> None:
        super().__init__(structures)
        self.intermediates: list[Tensor] = []


class Tensor:
    """Takes memory for one structure while anything refers to it."""


@dataclass
class FakeTeacher:
    """Labels by `pair_label`, unless the script says otherwise.

    raises_on      structures that make every batch they are in raise
    largest_batch  atoms; more raise "CUDA out of memory"
    capacity       atoms whose tensors fit into memory at once, as long as any is referred to; more raise "CUDA out of memory"
    spoil          changes a label before it is given
    gate           `predict` waits for it; set it to let the teacher go on
    fatal_on       structures that lose the device
    """

    raises_on: Callable[[Structure], bool] = lambda s: False
    fatal_on: Callable[[Structure], bool] = lambda s: False
    fails_featurising: Callable[[Structure], bool] = lambda s: False
    largest_batch: int | None = None
    capacity: int | None = None
    spoil: Callable[[Structure, Label], Label] = lambda s, label: label
    seconds_an_atom: float = 0.0
    budget: BudgetRange = SMALL_BUDGET
    name: str = "fake"
    version: str = "fake==1"
    weights_sha256: str = "f" * 64
    licence: str = "none"
    device: str = "cpu"
    elements: tuple[str, ...] = DEFAULT_ELEMENTS
    tolerance: PhysicsTolerance = UNREAL
    abilities: Abilities = field(default_factory=Abilities)
    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)
    featurised: list[str] = field(default_factory=list)
    seen: list[list[str]] = field(default_factory=list)
    tried: list[int] = field(default_factory=list)
    n_released: int = 0
    n_atoms_in_memory: int = 0
    on_load: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.gate.set()

    def load(self, stop: Stop) -> None:
        self.on_load()

    def use_threads(self, n_threads: int) -> None:
        pass

    def featurise(self, structures: Sequence[Structure]) -> Features:
        for s in structures:
            if self.fails_featurising(s):
                raise ValueError(f"{s.id} can't be featurised")
        self.featurised += [s.id for s in structures]
        return Features(structures)

    def predict(self, features: Features) -> list[Label]:
        self.entered.set()
        self.gate.wait(30)
        n_atoms = sum(len(s) for s in features)
        self.tried.append(n_atoms)
        if self.largest_batch is not None and n_atoms > self.largest_batch:
            raise RuntimeError(f"CUDA out of memory. Tried to allocate for {n_atoms} atoms")
        features.intermediates += [self._allocate(len(s)) for s in features]
        for s in features:
            if self.raises_on(s):
                raise ValueError(f"{s.id} breaks the batch")
            if self.fatal_on(s):
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
        time.sleep(self.seconds_an_atom * n_atoms)
        self.seen.append([s.id for s in features])
        return [self.spoil(s, pair_label(s)) for s in features]

    def _allocate(self, n_atoms: int) -> Tensor:
        if self.capacity is not None and self.n_atoms_in_memory + n_atoms > self.capacity:
            raise RuntimeError(f"CUDA out of memory. {self.n_atoms_in_memory} atoms are there, no room for {n_atoms} more")
        tensor = Tensor()
        self.n_atoms_in_memory += n_atoms
        weakref.finalize(tensor, self._free, n_atoms)
        return tensor

    def _free(self, n_atoms: int) -> None:
        self.n_atoms_in_memory -= n_atoms

    def release_memory(self) -> None:
        self.n_released += 1

    def close(self) -> None:
        pass


def build_losing() -> FastAPI:
    """A labeller as a container runs it, settings from the environment, whose device is lost with the first batch."""
    return create_labeller(FakeTeacher(fatal_on=lambda s: True), LabellerSettings(self_test=False))
