"""The network of a checkpoint: what config.yaml names is built from a list of known parts and filled with last.ckpt's tensors."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from distillery.errors import Unavailable
from distillery.generators.models.filling import build_filled

_PREFIX = "diffusion_module."
_PARTS = frozenset(
    {
        "mattergen.adapter.GemNetTAdapter",
        "mattergen.common.diffusion.corruption.LatticeVPSDE.from_vpsde_config",
        "mattergen.common.diffusion.corruption.NumAtomsVarianceAdjustedWrappedVESDE",
        "mattergen.common.gemnet.gemnet.GemNetT",
        "mattergen.common.gemnet.gemnet_ctrl.GemNetTCtrl",
        "mattergen.common.gemnet.layers.embedding_block.AtomEmbedding",
        "mattergen.common.loss.MaterialsLoss",
        "mattergen.common.utils.data_utils.StandardScalerTorch",
        "mattergen.denoiser.GemNetTDenoiser",
        "mattergen.denoiser.mask_disallowed_elements",
        "mattergen.diffusion.corruption.d3pm_corruption.D3PMCorruption",
        "mattergen.diffusion.corruption.multi_corruption.MultiCorruption",
        "mattergen.diffusion.d3pm.d3pm.MaskDiffusion",
        "mattergen.diffusion.d3pm.d3pm.create_discrete_diffusion_schedule",
        "mattergen.diffusion.diffusion_module.DiffusionModule",
        "mattergen.diffusion.model_utils.NoiseLevelEncoding",
        "mattergen.property_embeddings.ChemicalSystemMultiHotEmbedding",
        "mattergen.property_embeddings.EmbeddingVector",
        "mattergen.property_embeddings.PropertyEmbedding",
        "mattergen.property_embeddings.SetEmbeddingType",
        "mattergen.property_embeddings.SpaceGroupEmbeddingVector",
        "torch.nn.Identity",
    }
)
"""All that the published configurations name; hydra would call whatever else is named, and `${eval:…}` would run it."""


@dataclass(frozen=True, eq=False)
class Network:
    """A loaded checkpoint.

    module       upstream's DiffusionModule, on its device, in evaluation mode
    n_steps      steps of sampling, fixed by the checkpoint
    properties   what it can be conditioned on
    all_or_none  whether it was trained with all of these or none only, so that it never saw some without the others
    """

    module: Any
    device: torch.device
    n_steps: int
    properties: tuple[str, ...]
    all_or_none: bool


def read_config(path: Path) -> dict[str, Any]:
    """config.yaml as data; Unavailable if it is none or names parts that are not MatterGen's."""
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        module: dict[str, Any] = config["lightning_module"]["diffusion_module"]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise Unavailable(f"{path} is no configuration of a MatterGen checkpoint ({type(error).__name__}: {error})") from error
    foreign = sorted({text for text in _find_calls(module) if text not in _PARTS})
    if foreign:
        raise Unavailable(f"{path} names {', '.join(foreign)}; only parts of MatterGen's published checkpoints are taken, without ${{…}}")
    return dict(config)


def pick_tensors(checkpoint: Any) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
    """The diffusion module's tensors of a Lightning checkpoint."""
    tensors = {name.removeprefix(_PREFIX): tensor for name, tensor in checkpoint["state_dict"].items() if name.startswith(_PREFIX)}
    return tensors, {}


def build_module(config: Mapping[str, Any]) -> Any:
    """The DiffusionModule that a configuration describes, with random weights."""
    from hydra.utils import instantiate

    return instantiate(config["lightning_module"]["diffusion_module"])


def build_network(config: Mapping[str, Any], tensors: Mapping[str, Tensor], device: str) -> Network:
    """The network on its device; Unavailable if configuration and tensors do not belong together or the network makes no elements."""
    module = build_filled(lambda: build_module(config), tensors, "config.yaml and the checkpoint do not belong together")
    corruption = module.corruption.discrete_corruptions.get("atomic_numbers")
    if corruption is None:
        raise Unavailable("this checkpoint is for given compositions (csp) and makes no elements; take another, as mattergen_base")
    return Network(
        module=module.to(device).eval(),
        device=torch.device(device),
        n_steps=int(corruption.N),
        properties=tuple(module.model.cond_fields_model_was_trained_on),
        all_or_none=not _drops_each_alone(config),
    )


def _drops_each_alone(config: Mapping[str, Any]) -> bool:
    """Whether training left conditions out one by one; upstream's default is all at once."""
    dropout = config["lightning_module"]["diffusion_module"].get("pre_corruption_fn") or {}
    return bool(dropout.get("dropout_fields_iid", False))


def _find_calls(node: Any) -> Iterator[str]:
    """Everything below that hydra or omegaconf would look up: targets and interpolations."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "_target_":
                yield str(value)
            else:
                yield from _find_calls(value)
    elif isinstance(node, list):
        for value in node:
            yield from _find_calls(value)
    elif isinstance(node, str) and "${" in node:
        yield node
