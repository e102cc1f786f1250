"""Services that make sound structures of all systems in a fraction of a millisecond each, some refused, some twice."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from ase.data import covalent_radii
from fastapi import FastAPI
from numpy.typing import NDArray

from distillery.generators.generator import Made, Progress, Task
from distillery.generators.service import ServiceSettings, create_app
from distillery.runtime.stopping import Stop
from distillery.schema.base import Message
from distillery.schema.generate import Metadata, NoOptions, SystemCard
from distillery.structures.structure import DEFAULT_ELEMENTS, PERIODIC_SYSTEMS, Numbers, Structure, System, Vectors, numbers_of
from tests.rows import place_in_rows, replace_lone_carbon

SPOILT_SHARE = 0.01
"""Of the structures: two of their atoms lie on one another, which curation must refuse."""
POOL_SHARE, POOL_SIZE = 0.004, 20
"""Of the structures so many come from a pool of so few, whatever the seed: duplicates, most of them across shards."""
_SINGLE = 1.05
"""Lengths of the molecules' bonds over the sums of covalent radii."""
_RISE, _SPREAD = np.radians(35.0), np.radians(55.0)
_VACUUM = 18.0


class FastGenerator:
    """Atoms in rows on grids, and chains whose every backbone atom carries two others; sizes are spread evenly on a log scale.

    made  share of the structures asked for that are made
    """

    def __init__(self, name: str, systems: Sequence[System], made: float = 0.98) -> None:
        self._name, self._systems, self._made = name, systems, made

    @property
    def metadata(self) -> Metadata:
        card = SystemCard(min_atoms=10, max_atoms=200, elements=DEFAULT_ELEMENTS)
        return Metadata(
            service=self._name,
            version="1.0",
            method="fake",
            licence="none",
            systems=dict.fromkeys(self._systems, card),
            n_max=1000,
            minimum_distance=0.9,
        )

    @property
    def options(self) -> Mapping[System, type[Message]]:
        return dict.fromkeys(self._systems, NoOptions)

    def load(self) -> None: ...

    def check(self, task: Task) -> None: ...

    def close(self) -> None: ...

    def generate(self, task: Task, stop: Stop, progress: Progress) -> Made:
        n = max(1, round(self._made * task.n))
        return Made([make_structure(task, i) for i in range(n)], task.n, Counter({"unlucky": task.n - n} if n < task.n else {}))


def make_structure(task: Task, i: int) -> Structure:
    """Structure i of a task."""
    rng = np.random.default_rng([task.seed, i])
    is_spoilt, is_from_pool = rng.random() < SPOILT_SHARE, rng.random() < POOL_SHARE
    if is_from_pool:
        rng = np.random.default_rng([0, int(rng.integers(POOL_SIZE))])
    n_atoms = int(np.exp(rng.uniform(np.log(task.min_atoms), np.log(task.max_atoms + 1))))
    numbers, positions, cell = _MAKERS[task.system](rng, n_atoms, numbers_of(task.elements))
    if is_spoilt:
        positions[1] = positions[0] + 0.1
    periodic = task.system in PERIODIC_SYSTEMS
    unpaired = 2 - int(numbers.astype(int).sum()) % 2
    origin = {"method": "fake", "attempt": i, "kind": "atom", "radical_electrons": unpaired}  # loose, and no closed shells
    return Structure(f"{task.shard}/{i:04d}", numbers, positions, cell, (periodic,) * 3, task.system, origin)


def _make_chain(rng: np.random.Generator, n_atoms: int, elements: Numbers) -> tuple[Numbers, Vectors, Vectors]:
    """A zigzag of C, N, O, Si, P and S in the plane z = 0, with two of H, F and Cl on every atom."""
    n = max(n_atoms // 3, 2)
    ends_chains = np.isin(elements, [1, 9, 17])
    backbone, others = rng.choice(elements[~ends_chains], n), rng.choice(elements[ends_chains], (n, 2))
    side = np.where(np.arange(n) % 2, 1.0, -1.0)
    steps = np.stack([np.full(n - 1, np.cos(_RISE)), -side[:-1] * np.sin(_RISE), np.zeros(n - 1)], axis=1)
    spine = np.concatenate([np.zeros((1, 3)), np.cumsum(_bond(backbone[:-1], backbone[1:])[:, None] * steps, axis=0)])
    away = np.stack(
        [np.stack([np.zeros(n), side * np.cos(_SPREAD), sign * np.full(n, np.sin(_SPREAD))], axis=1) for sign in (1, -1)], axis=1
    )
    hanging = spine[:, None] + _bond(backbone[:, None], others)[:, :, None] * away
    positions = np.concatenate([spine, hanging.reshape(-1, 3)])
    numbers = np.concatenate([backbone, others.reshape(-1)])
    return numbers, positions + rng.uniform(-0.03, 0.03, positions.shape), np.zeros((3, 3))


def _bond(one: Numbers, other: Numbers) -> NDArray[np.float64]:
    lengths: NDArray[np.float64] = _SINGLE * (covalent_radii[one] + covalent_radii[other])
    return lengths


def _make_grid(
    rng: np.random.Generator, n_atoms: int, elements: Numbers, *, periodic: bool, n_layers: int | None = None
) -> tuple[Numbers, Vectors, Vectors]:
    """Atoms in rows on the first points of a grid: a box of them, or so many layers below a vacuum."""
    side = int(np.ceil(np.sqrt(n_atoms / n_layers))) if n_layers else int(np.ceil(np.cbrt(n_atoms)))
    spacing = rng.uniform(2.9, 3.4)
    points = np.stack(np.unravel_index(np.arange(n_atoms), (n_layers or side, side, side)), axis=1)[:, ::-1]
    numbers = replace_lone_carbon(rng.choice(elements, n_atoms), points, elements)
    positions = place_in_rows(numbers, points, spacing, 0.25, rng)
    height = spacing * n_layers + _VACUUM if n_layers else spacing * side
    cell = np.diag([spacing * side, spacing * side, height]) if periodic else np.zeros((3, 3))
    return numbers, positions, cell


_Maker = Callable[[np.random.Generator, int, Numbers], tuple[Numbers, Vectors, Vectors]]
_MAKERS: Mapping[System, _Maker] = {
    "molecule": _make_chain,
    "crystal": partial(_make_grid, periodic=True),
    "cluster": partial(_make_grid, periodic=False),
    "surface": partial(_make_grid, periodic=True, n_layers=4),
}
GENERATORS: Mapping[str, tuple[Sequence[System], float]] = {
    "molecules": (("molecule",), 0.98),
    "crystals": (("crystal",), 0.98),
    "shapes": (("cluster", "surface"), 0.98),
    "sparse": (("crystal",), 0.4),
}
"""Service names, what they make, and the share of what is asked for that they make."""


def _make(name: str) -> FastGenerator:
    return FastGenerator(name, *GENERATORS[name])


def _build(name: str) -> FastAPI:
    return create_app(_make(name), ServiceSettings())


build_molecules = partial(_build, "molecules")
build_crystals = partial(_build, "crystals")
build_shapes = partial(_build, "shapes")
build_sparse = partial(_build, "sparse")

make_molecules = partial(_make, "molecules")
make_crystals = partial(_make, "crystals")
make_shapes = partial(_make, "shapes")
make_sparse = partial(_make, "sparse")
"""For entry points."""


def make_ase() -> FastGenerator:
    """One that passes for the service ase, which every gateway knows."""
    return FastGenerator("ase", ("cluster",))


def build_ase() -> FastAPI:
    """Its app."""
    return create_app(make_ase(), ServiceSettings())
