"""Networks: what upstream's checkpoints hold, the diffusion model and perhaps the bond predictor, ready to sample."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distillery.errors import Unavailable
from distillery.generators.models.checkpoints import Converted, convert_once
from distillery.generators.models.filling import build_filled
from distillery.generators.models.model import ReportProgress, watching
from distillery.weights.catalogue import CheckpointFiles
from distillery.weights.checksums import sha256_of
from services.moldiff.batches import lay_out
from services.moldiff.sizes import GEOM_DRUGS, Trained
from services.moldiff.sketch import AROMATIC, Sketch
from services.moldiff.upstream import Upstream

GUIDANCE = "uncertainty"
"""Upstream's kind of guidance in its sampling configuration."""
_NEVER = -1e4
"""Added to the logit of an element that must not come out."""
_KINDS = ("diffusion", "bond_predictor")


@dataclass(frozen=True, eq=False)
class Networks:
    """Loaded networks.

    predictor       None without its checkpoint
    n_steps         of the diffusion, fixed by the checkpoint
    atomic_numbers  of the types of nodes, in order; after them comes the mask
    trained         which sizes it was trained on
    """

    diffusion: torch.nn.Module
    predictor: torch.nn.Module | None
    n_steps: int
    atomic_numbers: tuple[int, ...]
    trained: Trained
    device: str

    def sample(self, sizes: Sequence[int], numbers: frozenset[int], guidance_scale: float | None, report: ReportProgress) -> list[Sketch]:
        """One molecule of each size (heavy atoms), of these atomic numbers only; guided if there is a scale."""
        layout = lay_out(sizes).to(self.device)
        model: Any = self.diffusion
        with self._restricted_to(numbers), watching(model, self.n_steps, report):
            nodes, positions, pairs = model.sample(
                n_graphs=len(sizes),
                batch_node=layout.batch_node,
                halfedge_index=layout.halfedge_index,
                batch_halfedge=layout.batch_halfedge,
                bond_predictor=None if guidance_scale is None else self.predictor,
                guidance=None if guidance_scale is None else (GUIDANCE, guidance_scale),
            )["pred"]
        atoms = np.array(self.atomic_numbers, dtype=np.uint8)[nodes[:, : len(self.atomic_numbers)].argmax(dim=1).cpu().numpy()]
        return _split(sizes, atoms, positions.double().cpu().numpy(), pairs.argmax(dim=1).cpu().numpy())

    @contextmanager
    def _restricted_to(self, numbers: frozenset[int]) -> Iterator[None]:
        """Inside, the model never predicts other elements, nor that an atom stays masked."""
        allowed = [z in numbers for z in self.atomic_numbers]
        model: Any = self.diffusion
        penalties = torch.full((int(model.num_node_types),), _NEVER, device=self.device)
        penalties[: len(allowed)][torch.tensor(allowed)] = 0.0
        handle = model.node_decoder.register_forward_hook(lambda _module, _inputs, logits: logits + penalties)
        try:
            yield
        finally:
            handle.remove()


def read_networks(checkpoint: CheckpointFiles, cache: Path | None, upstream: Upstream, device: str) -> Networks:
    """The networks in the .pt files of a checkpoint; what is converted of them is kept in `cache`. Unavailable says what is wrong."""
    files = checkpoint.find({".pt", ".pth", ".ckpt"})
    found: dict[str, tuple[Path, Converted]] = {}
    for file in files:
        converted = convert_once(file, sha256_of(file), cache, {}, _pick)
        kind = str(converted.config["model"]["name"])
        if kind not in _KINDS or kind in found:
            raise Unavailable(f"{file} holds a {kind} network; wanted one diffusion network and at most one bond_predictor")
        found[kind] = (file, converted)
    if "diffusion" not in found:
        raise Unavailable(
            f"{checkpoint.name} holds {', '.join(sorted(checkpoint.files))}, but no diffusion network of MolDiff (MolDiff.pt)"
        )
    file, converted = found["diffusion"]
    config = converted.config
    n_steps = int(config["model"]["diff"]["num_timesteps"])
    predictor = None
    if "bond_predictor" in found:
        predictor = _read_predictor(*found["bond_predictor"], upstream, config)
    return Networks(
        diffusion=_fill(upstream.build_diffusion, converted, file).to(device).eval(),
        predictor=None if predictor is None else predictor.to(device).eval(),
        n_steps=n_steps,
        atomic_numbers=tuple(config["chem"]["atomic_numbers"]),
        trained=_read_trained(config),
        device=device,
    )


def _pick(content: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights, and of the configuration what builds the networks and says which sizes were trained."""
    config = content["config"]
    return content["model"], {name: config[name] for name in ("model", "chem", "transform", "dataset") if name in config}


def _fill(build: Callable[[dict[str, Any]], torch.nn.Module], converted: Converted, file: Path) -> torch.nn.Module:
    return build_filled(lambda: build(converted.config), converted.tensors, f"{file} does not fit its own configuration")


def _read_predictor(file: Path, converted: Converted, upstream: Upstream, diffusion: dict[str, Any]) -> torch.nn.Module:
    mine, wanted = ([c["model"]["diff"]["num_timesteps"], c["chem"]["atomic_numbers"]] for c in (converted.config, diffusion))
    if mine != wanted:
        raise Unavailable(f"{file} was trained with steps and elements {mine}, the diffusion network with {wanted}; take a matching pair")
    return _fill(upstream.build_predictor, converted, file)


def _read_trained(config: dict[str, Any]) -> Trained:
    """`dataset.heavy_atoms` where a checkpoint says so (the small one does), or else what upstream's sampler assumes."""
    own = config.get("dataset", {}).get("heavy_atoms")
    return GEOM_DRUGS if own is None else Trained(float(own["mean"]), float(own["std"]))


def _split(sizes: Sequence[int], atoms: Any, positions: Any, pair_types: Any) -> list[Sketch]:
    sketches, atom, pair = [], 0, 0
    for n in sizes:
        i, j = np.triu_indices(n, 1)
        types = pair_types[pair : pair + len(i)]
        bonds = {(int(i[k]), int(j[k])): int(types[k]) for k in np.flatnonzero((types > 0) & (types <= AROMATIC))}
        sketches.append(Sketch(atoms[atom : atom + n], positions[atom : atom + n], bonds))
        atom, pair = atom + n, pair + len(i)
    return sketches
