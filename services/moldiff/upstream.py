"""Upstream's code: the two networks, and its sampler without progress bar and stored trajectory."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from easydict import EasyDict

from distillery.errors import Unavailable
from distillery.generators.models import torch_scatter_shim
from distillery.generators.models.upstream import digest_upstream, find_upstream, importing_from

NAME = "moldiff"
REPOSITORY = "pengxingang/MolDiff"
COMMIT = "db62fa1b3e946d842686424318cfc07f98ed5fcd"
DIGEST = "0f468bae0725abea5bed0ff30755ca49efd74a20d70060ba5184766bae9e2f53"
"""`digest_upstream` of the pinned commit."""


@dataclass(frozen=True, eq=False)
class Upstream:
    """What is taken from upstream.

    diffusion  the class of the diffusion model
    predictor  the class of the bond predictor
    version    the commit, and "modified" where the files are others
    """

    diffusion: type[torch.nn.Module]
    predictor: type[torch.nn.Module]
    version: str

    def build_diffusion(self, config: Mapping[str, Any]) -> torch.nn.Module:
        """The diffusion model of a checkpoint's whole configuration, with random weights."""
        n_nodes, n_edges = count_types(config)
        return self.diffusion(EasyDict(config["model"]), n_nodes, n_edges)

    def build_predictor(self, config: Mapping[str, Any]) -> torch.nn.Module:
        """The bond predictor of its checkpoint's whole configuration, with random weights; it knows no masked bonds."""
        n_nodes, n_edges = count_types({**config, "transform": {**config["transform"], "use_mask_edge": False}})
        return self.predictor(EasyDict(config["model"]), n_nodes, n_edges)


def count_types(config: Mapping[str, Any]) -> tuple[int, int]:
    """Types of atoms (elements, then the mask) and of bonds (none, the bond types, then the mask) that a network tells apart."""
    chemistry, masks = config["chem"], config["transform"]
    return (
        len(chemistry["atomic_numbers"]) + int(masks["use_mask_node"]),
        1 + len(chemistry["mol_bond_types"]) + int(masks["use_mask_edge"]),
    )


def import_upstream() -> Upstream:
    """Import upstream's networks; Unavailable says how to get the code, or which package it misses."""
    folder = find_upstream(NAME, REPOSITORY, COMMIT)
    try:
        with warnings.catch_warnings(), importing_from(folder):
            warnings.simplefilter("ignore")
            torch_scatter_shim.install()
            diffusion = import_module("models.model")
            predictor = import_module("models.bond_predictor").BondPredictor
            _trim_sampler(diffusion)
    except ModuleNotFoundError as error:
        raise Unavailable(
            f"upstream's code of moldiff needs the package {error.name}; services/moldiff/requirements.txt names all"
        ) from error
    is_pinned = digest_upstream(folder) == DIGEST
    return Upstream(diffusion.MolDiff, predictor, COMMIT if is_pinned else f"{COMMIT} modified")


def _trim_sampler(module: Any) -> None:
    """The sampler keeps every step of every sample (4.4 GB for 512) in what `torch.zeros` of its module gives: give it a sink."""
    module.torch = _TorchWithSinks()
    module.tqdm = lambda steps, **_: steps


class _TorchWithSinks:
    """torch, but `zeros` gives an array that forgets what is written to it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def zeros(self, *_: object, **__: object) -> "_Sink":
        return _Sink()


class _Sink:
    def to(self, _: object) -> "_Sink":
        return self

    def __setitem__(self, _: object, __: object) -> None:
        pass
