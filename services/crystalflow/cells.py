"""Cells: the number of atoms, or the composition, of each sample."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols

from distillery.errors import Unsupported
from distillery.generators.generator import Task
from distillery.schema.explain import suggest
from distillery.structures.structure import Numbers
from services.crystalflow.options import BY_DIVISORS, CrystalFlowOptions, read_composition

Tables = Mapping[str, Sequence[float]]
"""By training set: how often cells have 0, 1, 2, … atoms there."""
_USUAL_SET = "mp_20"


@dataclass(frozen=True)
class Content:
    """So many atoms; which, and of which composition, where that is given.

    origin  what is told of the content beside its number of atoms
    """

    n_atoms: int
    origin: Mapping[str, str]
    numbers: Numbers | None = None


def list_sizes(task: Task, largest_cell: int) -> list[int]:
    """Numbers of atoms a cell may have so that some supercell of it fits the task."""
    return [n for n in range(1, min(largest_cell, task.max_atoms) + 1) if task.max_atoms // n * n >= task.min_atoms]


def list_units(task: Task, composition: str, largest_cell: int) -> list[int]:
    """How many formula units such a cell may hold."""
    n_atoms = len(read_composition(composition))
    return [size // n_atoms for size in list_sizes(task, largest_cell) if size % n_atoms == 0]


def choose_sizes(options: CrystalFlowOptions, tables: Tables) -> str:
    """The training set whose sizes cells have de novo, or BY_DIVISORS; Unsupported if upstream has none of this name."""
    if options.sizes is None:
        return _USUAL_SET if options.largest_cell < len(tables.get(_USUAL_SET, ())) else BY_DIVISORS
    if options.sizes != BY_DIVISORS and options.sizes not in tables:
        known = [*tables, BY_DIVISORS]
        raise Unsupported(f"options.sizes: upstream's code has none of {options.sizes!r}{suggest(options.sizes, known)}")
    return options.sizes


def weigh_sizes(task: Task, options: CrystalFlowOptions, tables: Tables) -> dict[int, float]:
    """How often, relative to each other, cells de novo have how many atoms, of those that fit the task."""
    name = choose_sizes(options, tables)
    sizes = list_sizes(task, options.largest_cell)
    if name == BY_DIVISORS:
        return {size: float(_count_divisors(size)) for size in sizes}
    return {size: tables[name][size] for size in sizes if size < len(tables[name]) and tables[name][size] > 0}


def _count_divisors(size: int) -> int:
    """Ways to hold whole formula units: primes are rare, as among known crystals."""
    return sum(size % divisor == 0 for divisor in range(1, size + 1))


def check_fit(task: Task, options: CrystalFlowOptions, tables: Tables) -> None:
    """Unsupported names what can't be made at the task's size or of its elements."""
    size = f"a supercell of {task.min_atoms}-{task.max_atoms} atoms"
    if not list_sizes(task, options.largest_cell):
        raise Unsupported(f"no cell of at most {options.largest_cell} atoms has {size}; widen this range")
    if not options.compositions and not weigh_sizes(task, options, tables):
        raise Unsupported(f"options.sizes: no cell of {options.sizes} of at most {options.largest_cell} atoms has {size}; widen this range")
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


def draw_contents(task: Task, options: CrystalFlowOptions, tables: Tables, n: int, rng: np.random.Generator) -> list[Content]:
    """n of them: sizes de novo, or compositions, each as likely as another, with a random number of units."""
    if not options.compositions:
        origin = {"sizes": choose_sizes(options, tables)}
        return [Content(size, origin) for size in _draw_sizes(weigh_sizes(task, options, tables), n, rng)]
    drawn = [options.compositions[k] for k in rng.integers(len(options.compositions), size=n)]
    return [_fill(composition, list_units(task, composition, options.largest_cell), rng) for composition in drawn]


def _draw_sizes(weights: Mapping[int, float], n: int, rng: np.random.Generator) -> list[int]:
    shares = np.array(list(weights.values())) / sum(weights.values())
    return [int(size) for size in rng.choice(list(weights), n, p=shares)]


def _fill(composition: str, units: list[int], rng: np.random.Generator) -> Content:
    numbers = np.tile(read_composition(composition), units[int(rng.integers(len(units)))])
    return Content(len(numbers), {"composition": composition}, numbers)
