"""Upstream's code: the network with its sampler, without progress bars and without what only draws molecules."""

import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from easydict import EasyDict
from rdkit.Chem.rdchem import BondType

from distillery.errors import Unavailable
from distillery.generators.models import torch_scatter_shim
from distillery.generators.models.upstream import digest_upstream, find_upstream, importing_from

NAME = "geodiff"
REPOSITORY = "MinkaiXu/GeoDiff"
COMMIT = "ea0ca48045a2f7abfccd7f0df449e45eb6eae638"
DIGEST = "2f5873f4e6c0da3c5840082295db7620f27ec3ed1b410658922df4c2cef5d458"
"""`digest_upstream` of the pinned commit."""
BOND_TYPES = {kind: number for number, kind in enumerate(BondType.names.values())}
"""How upstream numbers bonds: RDKit's bond types in their order; a graph distance of d > 1 is number `len(BOND_TYPES) + d - 1`."""


@dataclass(frozen=True)
class Upstream:
    """Upstream's checkout.

    version  the commit, and "modified" where the files are others
    """

    folder: Path
    version: str

    def build(self, config: Mapping[str, Any]) -> torch.nn.Module:
        """The network of a checkpoint's `config["model"]`, with random weights; Unavailable names the package that it misses."""
        # Layers of torch_geometric look their module up by name when they are made, so they are made where the names are known.
        try:
            with warnings.catch_warnings(), importing_from(self.folder):
                warnings.simplefilter("ignore")
                torch_scatter_shim.install()
                _leave_out_drawing()
                module: Any = import_module("models.epsnet.dualenc")
                _trim_sampler(module)
                network: torch.nn.Module = module.DualEncoderEpsNetwork(EasyDict(config["model"]))
        except ModuleNotFoundError as error:
            raise Unavailable(
                f"upstream's code of geodiff needs the package {error.name}; services/geodiff/requirements.txt names all"
            ) from error
        return network


def open_upstream() -> Upstream:
    """Upstream's code; Unavailable says how to get it."""
    folder = find_upstream(NAME, REPOSITORY, COMMIT)
    return Upstream(folder, COMMIT if digest_upstream(folder) == DIGEST else f"{COMMIT} modified")


def _trim_sampler(module: Any) -> None:
    """No progress bar, and a record of positions without the positions.

    At each of 5,000 steps the sampler would keep `pos.clone().cpu()`, hundreds of MB in all, of what the module's `center_pos` gave.
    """
    centre = module.center_pos

    def centre_unrecorded(pos: torch.Tensor, batch: torch.Tensor) -> Any:
        centred = centre(pos, batch)
        centred.clone = _Nothing  # of this tensor, not of what is made from it
        return centred

    module.center_pos = centre_unrecorded
    module.tqdm = lambda steps, **_: steps


class _Nothing:
    """In the place of the copy of a tensor."""

    def cpu(self) -> None: ...


def _leave_out_drawing() -> None:
    """Upstream's utils.chem imports torchvision and RDKit's drawing; the network takes its numbers of bond types alone."""
    module = ModuleType("utils.chem", "Bond types as upstream numbers them.")
    module.__dict__["BOND_TYPES"] = BOND_TYPES
    package = ModuleType("utils")
    package.__path__ = []
    sys.modules["utils"], sys.modules["utils.chem"] = package, module
