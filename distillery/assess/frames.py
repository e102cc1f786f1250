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
class Frame:
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


def read_frames(path: Path, indices: Sequence[int] | NDArray[np.int64] | None = None) -> list[Frame]:
    """Structures of a dataset, in order; all without `indices`."""
    with open_dataset(path) as file:
        arrays = read_arrays(file)
    splits = arrays["labels/forces_splits"]
    chosen = range(len(splits) - 1) if indices is None else indices
    return [
        make_frame(
            make_structure(arrays, int(i)),
            str(arrays["provenance/source"][i]),
            float(arrays["labels/energy"][i]),
            arrays["labels/forces"][splits[i] : splits[i + 1]].astype(np.float64),
        )
        for i in chosen
    ]


def make_frame(structure: Structure, source: str, energy: float, forces: NDArray[np.float64]) -> Frame:
    """A frame whose neighbours are found now."""
    edges, shifts = find_edges(structure)
    return Frame(structure, source, energy, forces, edges, shifts)


def find_edges(structure: Structure) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Edges and shifts of all neighbours within the cutoff."""
    pairs = find_pairs(structure, CUTOFF)
    edges = np.stack([pairs.i, pairs.j])
    if not structure.is_periodic:
        return edges, np.zeros((len(pairs.i), 3))
    between = pairs.vector - (structure.positions[pairs.j] - structure.positions[pairs.i])
    shifts: NDArray[np.float64] = np.round(between @ np.linalg.inv(structure.cell)).astype(np.float64)
    return edges, shifts


def join_frames(frames: Sequence[Frame], types: Sequence[int]) -> dict[str, Any]:
    """One flat batch as nequip takes it, with the labels as `wanted_energy` and `wanted_forces`.

    types  atomic numbers, in the student's order
    """
    import torch

    sizes = [len(frame.structure) for frame in frames]
    starts = np.cumsum([0, *sizes[:-1]])
    place = np.full(256, -1)
    place[list(types)] = np.arange(len(types))
    cells = [frame.structure.cell if frame.structure.is_periodic else 1000.0 * np.eye(3) for frame in frames]
    arrays = {
        "pos": np.concatenate([frame.structure.positions for frame in frames]),
        "atom_types": place[np.concatenate([frame.structure.numbers for frame in frames])],
        "edge_index": np.concatenate([frame.edges + start for frame, start in zip(frames, starts, strict=True)], axis=1),
        "edge_cell_shift": np.concatenate([frame.shifts for frame in frames]),
        "cell": np.stack(cells),
        "batch": np.repeat(np.arange(len(frames)), sizes),
        "num_atoms": np.array(sizes),
        "wanted_energy": np.array([frame.energy for frame in frames]),
        "wanted_forces": np.concatenate([frame.forces for frame in frames]),
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
