"""A teacher that computes nothing: labels of the right shape, for the benchmark of everything around it. It is never offered to users."""

import zlib
from collections.abc import Sequence
from math import inf

import numpy as np
from fastapi import FastAPI

from distillery.dataset.layout import Label
from distillery.runtime.stopping import Stop
from distillery.schema.label import Abilities
from distillery.structures.structure import DEFAULT_ELEMENTS, Structure
from labeller.app import create_labeller
from labeller.settings import LabellerSettings
from labeller.teachers.teacher import BudgetRange, PhysicsTolerance, TeacherFamily

NAME = "null-teacher"
_ONE_IN = 500
"""So many structures get one energy that is no number, which the labeller must quarantine."""


class NullTeacher:
    """Energies near a fit by elements, forces of 0-1 eV/Å, stresses of at most 0.01 eV/Å³: functions of the structure alone."""

    name = NAME
    version = "null==1"
    weights_sha256 = "0" * 64
    licence = "none"
    device = "cpu"
    elements = DEFAULT_ELEMENTS
    budget = BudgetRange(2_000, 32_000)
    tolerance = PhysicsTolerance(slope=inf, cosine=-1.0, energy=inf, forces=inf, net_force=inf, stiffness=inf)  # it keeps no law

    abilities = Abilities()

    def load(self, stop: Stop) -> None: ...

    def use_threads(self, n_threads: int) -> None: ...

    def featurise(self, structures: Sequence[Structure]) -> list[Structure]:
        return list(structures)

    def predict(self, features: list[Structure]) -> list[Label]:
        return [label_of(structure) for structure in features]

    def release_memory(self) -> None: ...

    def close(self) -> None: ...


def label_of(structure: Structure) -> Label:
    waves = np.sin(7.0 * structure.positions)
    energy = -float(structure.numbers.sum(dtype=np.int64)) / 5 + 0.02 * float(waves.sum())
    if is_unlucky(structure):
        energy = float("nan")
    stress = 0.01 * np.sin(structure.cell.reshape(-1)[:6]) if structure.is_periodic else None
    return Label(energy, (0.57 * waves).astype(np.float32), stress)


def is_unlucky(structure: Structure) -> bool:
    """Whether it has no energy; so have its supercells and what else the labeller's tests make of it, by its reduced formula."""
    counts = np.bincount(structure.numbers)
    return zlib.crc32((counts // np.gcd.reduce(counts)).tobytes(), 1) % _ONE_IN == 0


def build() -> FastAPI:
    """A labeller with this teacher as a container runs it: settings from the environment."""
    return create_labeller(NullTeacher(), LabellerSettings())


FAMILY = TeacherFamily(names=(NAME,), create=lambda name, settings: NullTeacher(), find_elements=lambda name: DEFAULT_ELEMENTS)
"""For an entry point, which tests write: `distillery serve labeller` then finds it."""
