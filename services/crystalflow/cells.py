"""Cells: how many atoms, or which, each sample shall hold."""

from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols

from contract.generator import Task
from contract.problems import Unsupported
from contract.structures import Numbers
from services.crystalflow.options import CrystalFlowOptions, read_composition


@dataclass(frozen=True)
class Content:
    """So many atoms; which, and of which composition, where that is given."""

    n_atoms: int
    numbers: Numbers | None = None
    composition: str = ""


def list_sizes(task: Task, largest_cell: int) -> list[int]:
    """Numbers of atoms a cell may have so that some supercell of it fits the task."""
    return [n for n in range(1, min(largest_cell, task.max_atoms) + 1) if task.max_atoms // n * n >= task.min_atoms]


def list_units(task: Task, composition: str, largest_cell: int) -> list[int]:
    """How many formula units such a cell may hold."""
    n_atoms = len(read_composition(composition))
    return [size // n_atoms for size in list_sizes(task, largest_cell) if size % n_atoms == 0]


def check_fit(task: Task, options: CrystalFlowOptions) -> None:
    """Unsupported names what can't be made at the task's size or of its elements."""
    size = f"a supercell of {task.min_atoms}-{task.max_atoms} atoms"
    if not list_sizes(task, options.largest_cell):
        raise Unsupported(f"no cell of at most {options.largest_cell} atoms has {size}; widen this range")
    for composition in options.compositions:
        where = f"options.compositions: {composition}"
        foreign = sorted({chemical_symbols[z] for z in read_composition(composition)} - set(task.elements))
        if foreign:
            raise Unsupported(f"{where} holds {' '.join(foreign)}, yet only {' '.join(task.elements)} are allowed")
        if not list_units(task, composition, options.largest_cell):
            raise Unsupported(
                f"{where}: no cell of at most {options.largest_cell} atoms holds whole units of it and has {size}; widen this range, "
                "or largest_cell if the checkpoint was trained on larger ones"
            )


def draw_contents(task: Task, options: CrystalFlowOptions, n: int, rng: np.random.Generator) -> list[Content]:
    """n of them: sizes de novo, or compositions, each as likely as another, with a random number of units."""
    if not options.compositions:
        return [Content(size) for size in _draw_sizes(list_sizes(task, options.largest_cell), n, rng)]
    drawn = [options.compositions[k] for k in rng.integers(len(options.compositions), size=n)]
    return [_fill(composition, list_units(task, composition, options.largest_cell), rng) for composition in drawn]


def _draw_sizes(sizes: list[int], n: int, rng: np.random.Generator) -> list[int]:
    """Each as likely as it has divisors: ways to hold whole formula units. Primes are rare, as among known crystals."""
    weights = np.array([sum(size % d == 0 for d in range(1, size + 1)) for size in sizes], dtype=np.float64)
    return [int(size) for size in rng.choice(sizes, n, p=weights / weights.sum())]


def _fill(composition: str, units: list[int], rng: np.random.Generator) -> Content:
    numbers = np.tile(read_composition(composition), units[int(rng.integers(len(units)))])
    return Content(len(numbers), numbers, composition)
