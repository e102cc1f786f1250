"""Batch: contents of cells handed to upstream's sampler, and the cells that come back."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.linalg import LinAlgError  # type: ignore[attr-defined]

from distillery.generators.models.model import BatchFailed
from distillery.structures.structure import Structure
from services.crystalflow.cells import Content
from services.crystalflow.options import LARGEST_NUMBER


@dataclass(frozen=True)
class Integration:
    """How the flow is followed.

    anneal    coordinates move 1 + anneal * time as fast
    guidance  None for networks without conditions
    """

    n_steps: int
    anneal: float
    guidance: float | None


def to_batch(contents: Sequence[Content], conditions: Mapping[str, float]) -> Any:
    """What upstream samples from, a torch_geometric Batch; conditions are scaled already."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its import uses what torch deprecates
        from torch_geometric.data import Batch, Data
    return Batch.from_data_list([_to_graph(Data, content, conditions) for content in contents])


def _to_graph(graph: Any, content: Content, conditions: Mapping[str, float]) -> Any:
    fields: dict[str, Any] = {name: torch.tensor([[value]], dtype=torch.float32) for name, value in conditions.items()}
    if content.numbers is not None:
        fields["atom_types"] = torch.tensor(content.numbers, dtype=torch.long)
    return graph(num_atoms=content.n_atoms, num_nodes=content.n_atoms, **fields)


def sample(model: Any, batch: Any, integration: Integration) -> list[Structure | str]:
    """One cell for each graph of the batch, or why it is none; BatchFailed if upstream could not go on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        end = _run(model, batch, integration)
    sizes = end["num_atoms"].tolist()
    numbers = end["atom_types"].cpu().numpy()
    fractional = end["frac_coords"].double().cpu().numpy()
    cells = end["lattices"].double().cpu().numpy()
    starts = np.cumsum([0, *sizes])
    return [_to_cell(numbers[a:b], fractional[a:b], cell) for a, b, cell in zip(starts[:-1], starts[1:], cells, strict=True)]


def _run(model: Any, batch: Any, integration: Integration) -> Any:
    try:
        return model.sample(
            batch,
            N=integration.n_steps,
            anneal_coords=integration.anneal > 0,
            anneal_slope=integration.anneal,
            guide_factor=integration.guidance,
        )[0]
    except LinAlgError as error:
        raise BatchFailed("singular_cell") from error


def _to_cell(numbers: Any, fractional: Any, cell: Any) -> Structure | str:
    if numbers.min() < 1 or numbers.max() > LARGEST_NUMBER:
        return "unknown_element"
    return Structure("", numbers.astype(np.uint8), fractional @ cell, cell, (True, True, True), "crystal")
