"""Conditions: properties that a network was trained with, how they are scaled, and whether a request gives them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from distillery.errors import Unavailable, Unsupported
from distillery.generators.models.checkpoints import convert_once
from distillery.generators.models.untrusted_pickle import InertObject
from distillery.weights.catalogue import CheckpointFiles
from distillery.weights.checksums import sha256_of
from services.crystalflow.options import CrystalFlowOptions

SCALES = "prop_scalers.pt"
"""Upstream's name of the file, beside the checkpoint, that says how conditions are scaled."""


@dataclass(frozen=True)
class Scale:
    """The network is given (value - mean) / deviation; both in the property's own unit."""

    mean: float
    deviation: float


@dataclass(frozen=True)
class Conditions:
    """What a network is conditioned on, by upstream's names, and whether it was trained without its conditions as well."""

    scales: Mapping[str, Scale]
    is_dropped: bool

    def check(self, options: CrystalFlowOptions) -> None:
        """Unsupported unless the request gives just these, and no guidance that has no meaning."""
        wanted, given = sorted(self.scales), sorted(options.conditions)
        if wanted != given:
            raise Unsupported(
                f"options.conditions: this checkpoint is conditioned on {', '.join(wanted) or 'nothing'}, got {', '.join(given) or 'none'}"
            )
        if options.is_guided and not self.is_dropped:
            raise Unsupported(
                f"options.guidance: {options.guidance} needs a checkpoint trained with and without conditions, unlike this: leave it at 1"
            )

    def scale(self, options: CrystalFlowOptions) -> dict[str, float]:
        """The request's conditions as the network takes them."""
        return {name: (options.conditions[name] - scale.mean) / scale.deviation for name, scale in self.scales.items()}


def read_conditions(model: Any, properties: Sequence[str], checkpoint: CheckpointFiles, cache: Path | None) -> Conditions:
    """Those of upstream's model; Unavailable if it needs a file of scales that is not there.

    properties  those that upstream scaled, in the order of old files of scales
    """
    if model.cond_emb is None:
        return Conditions({}, is_dropped=False)
    names = [str(name) for name in model.cond_emb.cond_keys]
    known = _read_scales(names, properties, checkpoint, cache) if set(names) & set(properties) else {}
    missing = [name for name in names if name in properties and name not in known]
    if missing:
        raise Unavailable(f"{SCALES} of {checkpoint.name} lacks the scale of {', '.join(missing)}")
    return Conditions({name: known.get(name, Scale(0.0, 1.0)) for name in names}, is_dropped=float(model.guide_threshold) > 0)


def _read_scales(names: Sequence[str], properties: Sequence[str], checkpoint: CheckpointFiles, cache: Path | None) -> dict[str, Scale]:
    file = checkpoint.files.get(SCALES)
    if file is None:
        raise Unavailable(
            f"{checkpoint.name} is conditioned on {', '.join(names)}: put its {SCALES} and its .ckpt into one folder, and name that folder"
        )
    allowed = {"diffcsp.common.data_utils.StandardScalerTorch": InertObject}
    converted = convert_once(file, sha256_of(file), cache, allowed, _pick_scales)
    places = {str(place): name for place, name in enumerate(properties)}
    return {places.get(key, key): Scale(*numbers) for key, numbers in converted.config.items()}


def _pick_scales(content: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Upstream's scalers: by name, or in files of older versions by the place of the property."""
    scalers = content if isinstance(content, dict) else {str(place): scaler for place, scaler in enumerate(content)}
    return {}, {name: [float(scaler["means"]), float(scaler["stds"])] for name, scaler in scalers.items()}
