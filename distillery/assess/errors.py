"""Errors of a student, group by group."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from distillery.assess.graphs import Graph
from distillery.assess.student import Prediction
from distillery.schema.assess import Errors


def group_errors(graphs: Sequence[Graph], predictions: Sequence[Prediction], name: Callable[[Graph], str]) -> dict[str, Errors]:
    """Errors of each group of structures, by its name, in alphabetical order."""
    pairs = list(zip(graphs, predictions, strict=True))
    names = sorted({name(graph) for graph in graphs})
    return {own: measure_errors(pair for pair in pairs if name(pair[0]) == own) for own in names}


def measure_errors(pairs: Iterable[tuple[Graph, Prediction]]) -> Errors:
    """Mean absolute errors of the forces' components, over all atoms, and of the energies per atom, over all structures."""
    forces, wanted, energies = [], [], []
    for graph, found in pairs:
        forces.append(np.abs(found.forces - graph.forces).ravel())
        wanted.append(np.abs(graph.forces).ravel())
        energies.append(abs(found.energy - graph.energy) / len(graph.structure))
    return Errors(
        n_structures=len(energies),
        forces=round(1e3 * float(np.concatenate(forces).mean()), 1),
        zero_forces=round(1e3 * float(np.concatenate(wanted).mean()), 1),
        energy=round(1e3 * float(np.mean(energies)), 1),
    )
