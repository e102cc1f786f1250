"""The network: what upstream's checkpoint holds, ready to sample."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rdkit import Chem
from torch import Tensor

from distillery.errors import Unavailable
from distillery.generators.models.checkpoints import convert_once
from distillery.generators.models.filling import build_filled
from distillery.generators.models.model import BatchFailed, ReportProgress, watching
from distillery.weights.catalogue import CheckpointFiles
from distillery.weights.checksums import sha256_of
from services.geodiff.graphs import make_graphs
from services.geodiff.upstream import Upstream

_SAMPLING = {"step_lr": 1e-6, "global_start_sigma": 0.5, "clip": 1000.0}
"""Upstream's defaults (test.py); a checkpoint may say others in `config["sampling"]`, as the small one does."""
_CLIP_LOCAL = 20.0
"""Upstream's limit for a second try after numbers that are not finite."""
_W_GLOBAL_QM9, _W_GLOBAL = 0.3, 1.0
"""Upstream's README: 0.3 for QM9, 1.0 for Drugs."""


@dataclass(frozen=True, eq=False)
class Network:
    """A loaded network; `config` is its checkpoint's."""

    module: torch.nn.Module
    config: dict[str, Any]
    device: str

    @property
    def n_steps(self) -> int:
        """Steps of the diffusion, fixed by the checkpoint."""
        return int(self.config["model"]["num_diffusion_timesteps"])

    @property
    def w_global(self) -> float:
        """The weight of global forces that upstream advises."""
        return _W_GLOBAL_QM9 if "qm9" in str(self.config.get("dataset", {})).lower() else _W_GLOBAL

    def sample(self, molecules: Sequence[Chem.Mol], w_global: float, report: ReportProgress) -> list[NDArray[np.float64]]:
        """Positions (n_atoms, 3) in Å of every molecule; BatchFailed if they are not finite, of a molecule alone with local clipping too.

        So clipping changes the molecules that need it only.
        """
        graphs = make_graphs(molecules, int(self.config["model"]["edge_order"])).to(self.device)
        for clip_local in (None, _CLIP_LOCAL) if len(molecules) == 1 else (None,):
            try:
                with watching(self.module, self.n_steps, report):
                    positions = self._run(graphs, w_global, clip_local)
            except FloatingPointError:
                continue
            return [p.double().numpy() for p in torch.split(positions.cpu(), list(graphs.sizes))]
        raise BatchFailed("not_finite")

    def _run(self, graphs: Any, w_global: float, clip_local: float | None) -> Tensor:
        sampler: Any = self.module
        settings = {**_SAMPLING, **self.config.get("sampling", {})}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.sparse.SparseTensor", category=UserWarning)  # upstream's way to make it
            positions, _ = sampler.langevin_dynamics_sample_diffusion(
                atom_type=graphs.atomic_numbers,
                pos_init=torch.randn(len(graphs.atomic_numbers), 3).to(self.device),
                bond_index=graphs.edges,
                bond_type=graphs.edge_types,
                batch=graphs.batch,
                num_graphs=len(graphs.sizes),
                extend_order=False,
                n_steps=self.n_steps,
                clip_local=clip_local,
                w_global=w_global,
                sampling_type="ld",
                **settings,
            )
        return torch.as_tensor(positions)


def read_network(checkpoint: CheckpointFiles, cache: Path | None, upstream: Upstream, device: str) -> Network:
    """The network in the one .pt file of a checkpoint; what is converted of it is kept in `cache`. Unavailable says what is wrong."""
    files = checkpoint.find({".pt", ".pth", ".ckpt"})
    if len(files) > 1 and all(file.stem.isdigit() for file in files):  # upstream's training keeps one of every so many iterations
        files = [max(files, key=lambda file: int(file.stem))]
    if len(files) != 1:
        raise Unavailable(
            f"{checkpoint.name} should hold one .pt file of GeoDiff, it holds {', '.join(sorted(checkpoint.files)) or 'none'}"
        )
    converted = convert_once(files[0], sha256_of(files[0]), cache, {}, _pick)
    network = build_filled(lambda: upstream.build(converted.config), converted.tensors, f"{files[0]} does not fit its own configuration")
    return Network(network.to(device).eval(), converted.config, device)


def _pick(content: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights, and of the configuration what builds the network and says how to sample."""
    config = content["config"]
    return content["model"], {name: config[name] for name in ("model", "dataset", "sampling") if name in config}
