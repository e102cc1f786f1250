"""orb-models: ASE databases of structures with a stress."""

from pathlib import Path

import torch
from orb_models.common.dataset.ase_sqlite_dataset import AseSqliteDataset
from orb_models.common.dataset.property_definitions import PropertyConfig
from orb_models.forcefield.forcefield_adapter import ForcefieldAtomsAdapter

from tests.consumers.labels import Label, check

MATRIX = [0, 5, 4, 5, 1, 3, 4, 3, 2]
TARGETS = PropertyConfig(node_names=["forces"], graph_names=["energy", "stress"])


def load(folder: Path, side: str) -> list[Label]:
    """As its finetune.py reads it."""
    adapter = ForcefieldAtomsAdapter(radius=6.0, max_num_neighbors=20)
    data = AseSqliteDataset("own", folder / f"{side}.db", atoms_adapter=adapter, target_config=TARGETS, dtype=torch.float64)
    graphs = [data[i] for i in range(len(data))]
    return [
        Label(
            float(graph.system_targets["energy"]),
            graph.node_targets["forces"].numpy(),
            graph.system_targets["stress"].reshape(6).numpy()[MATRIX].reshape(3, 3),
        )
        for graph in graphs
    ]


check("orb-models", load, stress="all rows need one: --with-stress")
