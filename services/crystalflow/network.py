"""Network: what one of upstream's checkpoints holds, ready to sample."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from distillery.errors import Unavailable
from distillery.generators.models.checkpoints import convert_once
from distillery.generators.models.filling import build_filled
from distillery.weights.catalogue import CheckpointFiles
from distillery.weights.checksums import sha256_of
from services.crystalflow.conditions import Conditions, read_conditions
from services.crystalflow.upstream import BESIDE, build_network


@dataclass(frozen=True)
class Network:
    """A model and what it can do.

    is_de_novo  it makes elements too; if not, it predicts structures of compositions
    """

    model: torch.nn.Module
    is_de_novo: bool
    conditions: Conditions


def read_networks(checkpoint: CheckpointFiles, cache: Path | None, device: str) -> list[Network]:
    """Every .ckpt of a checkpoint; what is converted of them is kept in `cache`. Unavailable says what is wrong with them."""
    files = checkpoint.find({".ckpt"})
    if not files:
        raise Unavailable(f"{checkpoint.name} holds {', '.join(sorted(checkpoint.files))}, but no .ckpt of CrystalFlow")
    return [_read_network(file, checkpoint, cache, device) for file in files]


def _read_network(file: Path, checkpoint: CheckpointFiles, cache: Path | None, device: str) -> Network:
    converted = convert_once(file, sha256_of(file), cache, {}, _pick)
    misfit = f"{file} does not fit its own hyperparameters"
    try:
        model = build_filled(lambda: build_network(converted.config["model"]), converted.tensors, misfit)
    except (RuntimeError, HydraException, OmegaConfBaseException) as error:
        raise Unavailable(f"{misfit}: {str(error)[:500]}") from error
    conditions = read_conditions(model, converted.config["properties"], checkpoint, cache)
    return Network(model.to(device).eval(), bool(model.pred_type), conditions)


def _pick(content: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights; the model's hyperparameters; the properties of its training set."""
    hyperparameters = content["hyper_parameters"]
    model = {name: value for name, value in hyperparameters.items() if name not in BESIDE}
    return content["state_dict"], {"model": model, "properties": hyperparameters["data"].get("properties") or []}
