"""ASE calculators that fail on cue, for tests; they run in worker processes and are found by their module's name."""

import ctypes
import os
import time
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from distillery.structures.structure import from_ase
from tests.fake_teacher import pair_label


class Scripted(Calculator):
    """The fake teacher's pair potential, but for structures that hold an element of a fault.

    N raises, P ends the process, S is a segmentation fault, Cl never answers; F has no finite energy.
    """

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight, self.n_calls = weight, 0

    def calculate(self, atoms: Atoms | None = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        assert atoms is not None
        super().calculate(atoms, properties, system_changes)
        self.n_calls += 1
        print("a calculator that talks")
        _fail(set(atoms.get_chemical_symbols()))
        periodic = bool(atoms.pbc.any())
        label = pair_label(from_ase(atoms, id="x", system="crystal" if periodic else "molecule"))
        self.results = {"energy": self.weight * label.energy, "forces": self.weight * label.forces.astype(np.float64)}
        if label.stress is not None:
            self.results["stress"] = self.weight * label.stress


def _fail(symbols: set[str]) -> None:
    if "N" in symbols:
        raise ValueError("nitrogen is\nnot known")
    if "P" in symbols:
        print("phosphorus is the end", flush=True)
        os._exit(7)
    if "S" in symbols:
        ctypes.string_at(0)
    if "Cl" in symbols:
        time.sleep(1000)


class MoleculesOnly(Scripted):
    """Says what it can't do."""

    implemented_properties = ("energy", "forces")
    elements = ("H", "C", "O")
    periodic = False
    conservative = False


def make_scripted(weight: float = 1.0) -> Scripted:
    return Scripted(weight)


def make_anything(weight: float = 1.0):  # type: ignore[no-untyped-def]
    return Scripted(weight)


def make_nothing() -> Scripted:
    return None  # type: ignore[return-value]


def make_trouble() -> Scripted:
    raise RuntimeError("the weights are not there")
