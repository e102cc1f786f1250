"""The student: a small NequIP of the package nequip, trained for a fixed number of steps."""

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from distillery.assess.graphs import CUTOFF, Graph, join_graphs
from distillery.dataset.element_energies import fit_energies
from distillery.errors import Unavailable

LAYERS, FEATURES, RADIAL_WIDTH = 2, 32, 32
LEARNING_RATE = 0.01
ATOMS_A_BATCH = 64
ENERGY_WEIGHT = 0.3
"""Of an error of 1 eV/atom against one of 1 eV/Å."""


@dataclass(frozen=True)
class Prediction:
    """What a student says of a structure: energy in eV, forces in eV/Å of shape (n_atoms, 3)."""

    energy: float
    forces: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Student:
    """A trained model.

    numbers  atomic numbers of its types; it knows no others
    seconds  of training, on the processor
    """

    model: Any
    numbers: tuple[int, ...]
    seconds: float

    def knows(self, numbers: NDArray[np.uint8]) -> bool:
        """Whether it was trained on all these elements."""
        return set(numbers.tolist()) <= set(self.numbers)

    def predict(self, graphs: Sequence[Graph]) -> list[Prediction]:
        """One prediction a structure, in order."""
        found: list[Prediction] = []
        for batch in _cut(graphs):
            out = self.model(_without_labels(join_graphs(batch, self.numbers)))
            energies = out["total_energy"].detach().numpy().ravel()
            forces = np.split(out["forces"].detach().numpy().astype(np.float64), np.cumsum([len(f.structure) for f in batch])[:-1])
            found += [Prediction(float(energy), own) for energy, own in zip(energies, forces, strict=True)]
        return found


def describe_student() -> str:
    """`package==version`; Unavailable says how to get it."""
    require_student()
    return f"nequip=={version('nequip')}"


def require_student() -> None:
    """Unavailable if the student's package is not installed."""
    from importlib.util import find_spec

    if find_spec("nequip") is None:
        raise Unavailable(
            "the student that is trained here needs the package nequip, which is not installed: pip install 'distillery[assess]'"
        )


def train_student(graphs: Sequence[Graph], *, seed: int, steps: int) -> Student:
    """A student of these structures; the same for the same structures, seed and steps on one machine.

    The loss is the mean absolute error of the forces' components plus `ENERGY_WEIGHT` times that of the energies per atom, and the
    learning rate falls to nothing with a cosine. Energies of the elements are a robust fit of the structures, isolated atoms left out.
    """
    import torch

    require_student()
    torch.set_num_threads(1)
    start = time.process_time()
    numbers = tuple(sorted({int(z) for graph in graphs for z in graph.structure.numbers}))
    model = _build(graphs, numbers, seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    batches = _draw_batches(graphs, np.random.default_rng(seed))
    model.train()
    for _ in range(steps):
        loss = _compute_loss(model, join_graphs(next(batches), numbers))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimiser.step()
        schedule.step()
    model.eval()
    return Student(model, numbers, time.process_time() - start)


def _fit_shifts(graphs: Sequence[Graph]) -> dict[str, float]:
    """An energy for every element, eV by chemical symbol, by the fit that datasets are handed on with; 0 where there is none."""
    numbers = np.concatenate([graph.structure.numbers for graph in graphs]).astype(np.int64)
    splits = np.cumsum([0, *(len(graph.structure) for graph in graphs)])
    charges = np.array([graph.structure.charge for graph in graphs])
    found = fit_energies(np.array([graph.energy for graph in graphs]), numbers, splits, charges)
    return {chemical_symbols[z]: found.get(chemical_symbols[z], 0.0) for z in np.unique(numbers)}


def _build(graphs: Sequence[Graph], numbers: Sequence[int], seed: int) -> Any:
    names = [chemical_symbols[z] for z in numbers]
    with _quiet_and_restored():
        from nequip.model import NequIPGNNModel
        from nequip.utils.global_state import set_global_state

        set_global_state()
        forces = np.concatenate([graph.forces for graph in graphs])
        return NequIPGNNModel(
            seed=seed,
            model_dtype="float32",
            type_names=names,
            r_max=CUTOFF,
            num_layers=LAYERS,
            l_max=1,
            parity=False,
            num_features=FEATURES,
            radial_mlp_depth=1,
            radial_mlp_width=RADIAL_WIDTH,
            avg_num_neighbors=max(sum(graph.edges.shape[1] for graph in graphs) / len(forces), 1.0),
            per_type_energy_scales=max(float(np.sqrt((forces**2).mean())), 1e-3),
            per_type_energy_shifts=_fit_shifts(graphs),
        )


@contextmanager
def _quiet_and_restored() -> Iterator[None]:
    """Warnings of torch and e3nn are kept back, and torch's default type, which nequip changes for all that comes after, is put back."""
    import torch

    before = torch.get_default_dtype()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            torch.set_default_dtype(before)


def _compute_loss(model: Any, batch: dict[str, Any]) -> Any:
    out = model(_without_labels(batch))
    energy = (out["total_energy"].flatten() - batch["wanted_energy"]) / batch["num_atoms"]
    return (out["forces"] - batch["wanted_forces"]).abs().mean() + ENERGY_WEIGHT * energy.abs().mean()


def _without_labels(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: tensor for name, tensor in batch.items() if not name.startswith("wanted_")}


def _draw_batches(graphs: Sequence[Graph], rng: np.random.Generator) -> Any:
    """Batches of about `ATOMS_A_BATCH` atoms, all structures in a new order each time round, without end."""
    while True:
        yield from _cut([graphs[k] for k in rng.permutation(len(graphs))])


def count_batches(graphs: Sequence[Graph]) -> int:
    """Steps of training that show every structure once."""
    return len(_cut(graphs))


def _cut(graphs: Sequence[Graph]) -> list[list[Graph]]:
    """The structures in order, in batches of about `ATOMS_A_BATCH` atoms."""
    batches: list[list[Graph]] = []
    n_atoms = ATOMS_A_BATCH
    for graph in graphs:
        if n_atoms >= ATOMS_A_BATCH:
            batches.append([])
            n_atoms = 0
        batches[-1].append(graph)
        n_atoms += len(graph.structure)
    return batches
