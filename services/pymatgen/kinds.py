"""The three kinds of crystals: which of them a task allows, and a source of primitive cells for each."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, lru_cache
from itertools import permutations
from typing import cast

import numpy as np
from pymatgen.core.composition import Composition

from distillery.generators.compounds import Compound, draw_compound, find_compounds
from distillery.generators.generator import Task
from distillery.generators.proposals import Rejected
from distillery.structures.structure import Structure
from services.pymatgen.options import DEFAULT_KINDS, CrystalOptions, Kind
from services.pymatgen.plausibility import is_plausible
from services.pymatgen.prototypes import Prototype, select_prototypes
from services.pymatgen.symmetric import N_SPACE_GROUPS, draw_crystal
from services.pymatgen.symmetry import find_symmetry
from services.pymatgen.volume import settle

_DRAWS = 30
"""Sets of elements tried until one has a plausible decoration."""

Decoration = tuple[Prototype, tuple[str, ...]]
DrawCell = Callable[[np.random.Generator], Structure]
"""Another primitive cell at every call; Rejected if it came to nothing."""


def possible_kinds(task: Task) -> dict[Kind, float]:
    """Shares above zero of the kinds that elements and sizes allow."""
    asked = _options_of(task).kinds or DEFAULT_KINDS
    return {kind: share for kind, share in asked.items() if share > 0 and why_not(kind, task) is None}


def why_not(kind: Kind, task: Task) -> str | None:
    """Why crystals of this kind can't be made of the task, or None if they can."""
    options, atoms = _options_of(task), f"a supercell of {task.min_atoms}-{task.max_atoms} atoms"
    span = f"{options.min_elements}-{_most_elements(task)} elements"
    if kind == "real" and not _fitting_compounds(task):
        return f"no known compound of {' '.join(task.elements)} that is asked for has {span} and {atoms}"
    if kind == "decorated":
        if not _fitting_prototypes(task, options.min_elements, _most_elements(task)):
            return f"no prototype asked for has {span} and {atoms}"
        if options.charge_balanced and not _can_balance(task):
            return f"no prototype asked for is charge-balanced with {' '.join(task.elements)}; charge_balanced: false allows others"
    return None


def prepare_kind(kind: Kind, task: Task, rng: np.random.Generator) -> DrawCell:
    """A source of cells of one kind. Its elements, but for real compounds, are drawn here, once: were they drawn anew after a refusal,
    those that are hard to place (carbon) would become rare.
    """
    if kind == "real":
        return lambda draw: _cell_of(_draw_compound(task, draw))
    if kind == "decorated":
        decorations = _draw_decorations(task, rng)
        return lambda draw: _settle_decorated(task, decorations, draw)
    elements = _draw_elements(task, int(rng.integers(_options_of(task).min_elements, _most_elements(task) + 1)), rng)
    return lambda draw: _settle_symmetric(task, elements, draw)


def _options_of(task: Task) -> CrystalOptions:
    return cast(CrystalOptions, task.options)


def _most_elements(task: Task) -> int:
    return min(_options_of(task).max_elements, len(task.elements), task.max_atoms)


def _has_supercell(n_cell: int, task: Task) -> bool:
    return task.max_atoms // n_cell * n_cell >= task.min_atoms


def _fitting_compounds(task: Task) -> tuple[Compound, ...]:
    options = _options_of(task)
    return tuple(
        compound
        for compound in find_compounds(task.elements, high_pressure=options.high_pressure)
        if (not options.prototypes or not set(options.prototypes).isdisjoint(compound.names))
        and options.min_elements <= len(compound.elements) <= options.max_elements
        and _has_supercell(len(_cell_of(compound)), task)
    )


def _draw_compound(task: Task, rng: np.random.Generator) -> Compound:
    return draw_compound(_fitting_compounds(task), rng, _options_of(task).element_weights)


@cache
def _cell_of(compound: Compound) -> Structure:
    """The primitive cell, not scaled."""
    cell = find_symmetry(compound.structure)
    return replace(cell, origin={"method": "real", **cell.origin, "formula": compound.formula, **compound.origin})


def _fitting_prototypes(task: Task, fewest: int, most: int) -> tuple[Prototype, ...]:
    return select_prototypes(_options_of(task).prototypes, (fewest, most), (task.min_atoms, task.max_atoms))


def _draw_elements(task: Task, n_elements: int, rng: np.random.Generator) -> tuple[str, ...]:
    weights = np.array([_options_of(task).element_weights.get(e, 1.0) for e in task.elements])
    drawn = rng.choice(len(task.elements), n_elements, replace=False, p=weights / weights.sum())
    return tuple(task.elements[int(k)] for k in drawn)


def _draw_decorations(task: Task, rng: np.random.Generator, n_draws: int = _DRAWS) -> tuple[Decoration, ...]:
    """All allowed decorations with one set of elements; numbers of elements come as often as prototypes have them."""
    options = _options_of(task)
    prototypes = _fitting_prototypes(task, options.min_elements, _most_elements(task))
    for _ in range(n_draws):
        n_elements = prototypes[int(rng.integers(len(prototypes)))].n_species
        elements = tuple(sorted(_draw_elements(task, n_elements, rng)))
        decorations = _list_decorations(_fitting_prototypes(task, n_elements, n_elements), elements, options.charge_balanced)
        if decorations:
            return decorations
    raise Rejected("implausible")


@lru_cache(4096)
def _list_decorations(prototypes: tuple[Prototype, ...], elements: tuple[str, ...], balanced: bool) -> tuple[Decoration, ...]:
    every = ((prototype, ordered) for prototype in prototypes for ordered in permutations(elements))
    return tuple(decoration for decoration in every if not balanced or _is_plausible(*decoration))


def _is_plausible(prototype: Prototype, elements: tuple[str, ...]) -> bool:
    return is_plausible(tuple(sorted(zip(elements, prototype.counts, strict=True))))


def _can_balance(task: Task) -> bool:
    """True if some decoration is plausible: one of those of many sets of elements, the same at every call."""
    try:
        return bool(_draw_decorations(task, np.random.default_rng(0), n_draws=10 * _DRAWS))
    except Rejected:
        return False


def _settle_decorated(task: Task, decorations: tuple[Decoration, ...], rng: np.random.Generator) -> Structure:
    prototype, elements = decorations[int(rng.integers(len(decorations)))]
    return _settle(prototype.decorate(elements), task, rng)


def _settle_symmetric(task: Task, elements: tuple[str, ...], rng: np.random.Generator) -> Structure:
    options = _options_of(task)
    groups = options.space_groups or range(1, N_SPACE_GROUPS + 1)
    number = int(groups[int(rng.integers(len(groups)))])
    ordered = tuple(elements[int(k)] for k in rng.permutation(len(elements)))
    return _settle(draw_crystal(number, ordered, min(options.largest_random_cell, task.max_atoms), rng), task, rng)


def _settle(drawn: Structure, task: Task, rng: np.random.Generator) -> Structure:
    """Its primitive cell at a sensible volume."""
    scale = float(rng.uniform(*_options_of(task).volume_scale))
    cell = settle(find_symmetry(drawn), scale)
    formula = str(Composition("".join(cell.symbols)).reduced_formula)
    return replace(cell, origin={**cell.origin, "formula": formula, "volume_scale": scale})
