"""Labelled structures as a student reads them: neighbours within its reach, one flat batch of many."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillery.dataset.layout import make_structure, open_dataset, read_arrays
from distillery.structures.geometry import find_pairs
from distillery.structures.structure import Structure

CUTOFF = 5.0
"""Å; as far as a layer of the student sees."""


@dataclass(frozen=True, eq=False)
class Graph:
    """A structure with its label and its neighbours.

    energy  eV
    forces  eV/Å, shape (n_atoms, 3)
    edges   atom and neighbour, shape (2, n_edges)
    shifts  cells between the neighbour and its image, shape (n_edges, 3)
    """

    structure: Structure
    source: str
    energy: float
    forces: NDArray[np.float64]
    edges: NDArray[np.int64]
    shifts: NDArray[np.float64]


def read_graphs(path: Path, indices: Sequence[int] | NDArray[np.int64] | None = None) -> list[Graph]:
    """Structures of a dataset, in order; all without `indices`."""
    with open_dataset(path) as file:
        arrays = read_arrays(file)
    splits = arrays["labels/forces_splits"]
    chosen = range(len(splits) - 1) if indices is None else indices
    return [
        make_graph(
            make_structure(arrays, int(i)),
            str(arrays["provenance/source"][i]),
            float(arrays["labels/energy"][i]),
            arrays["labels/forces"][splits[i] : splits[i + 1]].astype(np.float64),
        )
        for i in chosen
    ]


def make_graph(structure: Structure, source: str, energy: float, forces: NDArray[np.float64]) -> Graph:
    """The graph of a structure: its neighbours are found here."""
    edges, shifts = find_edges(structure)
    return Graph(structure, source, energy, forces, edges, shifts)


def find_edges(structure: Structure) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Edges and shifts of all neighbours within the cutoff."""
    pairs = find_pairs(structure, CUTOFF)
    edges = np.stack([pairs.i, pairs.j])
    if not structure.is_periodic:
        return edges, np.zeros((len(pairs.i), 3))
    between = pairs.vector - (structure.positions[pairs.j] - structure.positions[pairs.i])
    shifts: NDArray[np.float64] = np.round(between @ np.linalg.inv(structure.cell)).astype(np.float64)
    return edges, shifts


def join_graphs(graphs: Sequence[Graph], types: Sequence[int]) -> dict[str, Any]:
    """One flat batch as nequip takes it, with the labels as `wanted_energy` and `wanted_forces`.

    types  atomic numbers, in the student's order
    """
    import torch

    sizes = [len(graph.structure) for graph in graphs]
    starts = np.cumsum([0, *sizes[:-1]])
    place = np.full(256, -1)
    place[list(types)] = np.arange(len(types))
    cells = [graph.structure.cell if graph.structure.is_periodic else 1000.0 * np.eye(3) for graph in graphs]
    arrays = {
        "pos": np.concatenate([graph.structure.positions for graph in graphs]),
        "atom_types": place[np.concatenate([graph.structure.numbers for graph in graphs])],
        "edge_index": np.concatenate([graph.edges + start for graph, start in zip(graphs, starts, strict=True)], axis=1),
        "edge_cell_shift": np.concatenate([graph.shifts for graph in graphs]),
        "cell": np.stack(cells),
        "batch": np.repeat(np.arange(len(graphs)), sizes),
        "num_atoms": np.array(sizes),
        "wanted_energy": np.array([graph.energy for graph in graphs]),
        "wanted_forces": np.concatenate([graph.forces for graph in graphs]),
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
