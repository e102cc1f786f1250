"""The network of a checkpoint: the model that its hyperparameters describe, filled with its tensors. Nothing of the pickle is executed."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from distillery.errors import Unavailable
from distillery.generators.models.checkpoints import convert_once
from distillery.generators.models.filling import build_filled
from distillery.generators.models.untrusted_pickle import InertObject
from distillery.weights.checksums import sha256_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what pytorch-lightning is told by torch
    from chemeleon_dng.dataset.num_atom_distributions import NUM_ATOM_DISTRIBUTIONS
    from chemeleon_dng.diffusion.diffusion_module import DiffusionModule, DiffusionModuleTask
    from chemeleon_dng.diffusion.models import D3PM, DDPM, DSM

Task = Literal["csp", "dng", "guide"]
_NAMES = ("diffusion_module.DiffusionModuleTask", "models.d3pm.D3PM", "models.ddpm.DDPM", "models.dsm.DSM")
_ALLOWED = {f"{package}.diffusion.{name}": InertObject for package in ("chemeleon_dng", "chemeleon_rl") for name in _NAMES}
"""What upstream keeps in a checkpoint's hyperparameters; chemeleon_rl was the package's name once."""
_LATTICE = (
    *("alphas", "alphas_cumprod", "sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod"),
    *("posterior_variance", "ddpm_posterior_mean_coef1", "ddpm_posterior_mean_coef2"),
)
_COORDINATES = ("sigmas", "sigmas_norm")
"""Tables of the diffusion of cells and coordinates; `sigmas_norm` was drawn at random when the model was trained."""
_WEIGHTS = "model."
_NO_TRAINING = {"optimizer": "adam", "lr": 0.0, "weight_decay": 0.0, "scheduler": "constant", "patience": 0, "early_stopping": 0}
_MASKED = -1e10
"""Added to the logits of elements that must not come out."""
CELL_SIZES = {size: share for size, share in NUM_ATOM_DISTRIBUTIONS["mp-20"].items() if share > 0}
"""How often cells of MP-20 have how many atoms, as upstream has it."""
LARGEST_NUMBER = 100
"""Type 0 is the diffusion's own mask, 101 a dummy."""


@dataclass(frozen=True, eq=False)
class Network:
    """A loaded checkpoint.

    module      upstream's DiffusionModule, on its device, in evaluation mode
    task        what it was trained for: `dng` makes elements, positions and cells, `csp` positions and cells of given elements
    n_steps     steps of sampling, fixed by the checkpoint
    n_types     types that it knows: atomic numbers below this
    cell_sizes  how often cells had how many atoms where it was trained, as the checkpoint says, or else those of MP-20
    """

    module: Any
    task: Task
    n_steps: int
    n_types: int
    cell_sizes: Mapping[int, float]

    @contextmanager
    def limited_to(self, numbers: tuple[int, ...]) -> Iterator[None]:
        """Inside, only elements of these atomic numbers come out; as upstream samples where these are all that it knows."""
        if self.task != "dng" or set(range(1, min(self.n_types, LARGEST_NUMBER + 1))) <= set(numbers):
            yield
            return
        penalty = torch.full((self.n_types,), _MASKED, device=self.module.device)
        penalty[[z for z in numbers if z < self.n_types]] = 0.0
        handle = self.module.model.type_out.register_forward_hook(lambda module, given, logits: logits + penalty)
        try:
            yield
        finally:
            handle.remove()


def read_network(file: Path, cache: Path, device: str) -> Network:
    """The network in a .ckpt, on its device; Unavailable says what is wrong with the file."""
    converted = convert_once(file, sha256_of(file), cache, _ALLOWED, pick)
    config, tensors = converted.config, converted.tensors
    if config["task"] == "guide":
        raise Unavailable(f"{file} is for guided generation, which the package can't sample yet; take a dng or csp checkpoint")
    weights = {name: tensor for name, tensor in tensors.items() if name.startswith(_WEIGHTS)}
    module = build_filled(lambda: build_module(config, tensors), weights, f"{file}: its hyperparameters and weights do not belong together")
    sizes = config["cell_sizes"]
    return Network(
        module=module.to(device).eval(),
        task=config["task"],
        n_steps=int(config["n_steps"]),
        n_types=int(config["model"]["max_atoms"]),
        cell_sizes=CELL_SIZES if sizes is None else {int(size): float(share) for size, share in sizes.items()},
    )


def pick(content: Any) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
    """Weights and tables, and what else a Lightning checkpoint of upstream's says of the model."""
    given = content["hyper_parameters"]
    lattice, coordinates, types = given["diffusion_lattice"], given["diffusion_frac_coord"], given["diffusion_atom_type"]
    tensors = {
        **{name: tensor for name, tensor in content["state_dict"].items() if name.startswith(_WEIGHTS)},
        **{f"lattice.{name}": lattice[name] for name in _LATTICE},
        **{f"coordinates.{name}": coordinates[name] for name in _COORDINATES},
        **({} if types is None else {"types.betas": types["betas"]}),
    }
    config = {
        "task": get_args(Task)[given["task"][0] - 1],
        "n_steps": given["num_timesteps"],
        "model": {name: value for name, value in given["model_configs"].items() if name != "task"},
        "sigma_begin": coordinates["sigma_begin"],
        "hybrid_coefficient": None if types is None else types["hybrid_coeff"],
        "cell_sizes": content.get("cell_sizes"),
    }
    return tensors, config


def build_module(config: Mapping[str, Any], tables: Mapping[str, Tensor]) -> Any:
    """Upstream's DiffusionModule of this configuration with random weights; Unavailable if upstream knows no such model."""
    model = dict(config["model"])
    try:
        return DiffusionModule(
            task=DiffusionModuleTask[config["task"].upper()],
            num_timesteps=config["n_steps"],
            diffusion_atom_type=None  # as upstream has it of csp
            if config["task"] == "csp"
            else D3PM(betas=tables["types.betas"], max_atoms=model["max_atoms"], d3pm_hybrid_coeff=config["hybrid_coefficient"]),
            diffusion_lattice=_restore_lattice(tables),
            diffusion_frac_coord=_restore_coordinates(tables, config),
            model_configs=model,
            optimizer_configs=dict(_NO_TRAINING),
        )
    except (TypeError, ValueError, KeyError, AssertionError) as error:
        raise Unavailable(f"the checkpoint's hyperparameters are not those of a Chemeleon model: {error}") from error


def _restore_lattice(tables: Mapping[str, Tensor]) -> Any:
    restored = object.__new__(DDPM)
    restored.num_timesteps = len(tables["lattice.alphas"])
    for name in _LATTICE:
        setattr(restored, name, tables[f"lattice.{name}"])
    return restored


def _restore_coordinates(tables: Mapping[str, Tensor], config: Mapping[str, Any]) -> Any:
    restored = object.__new__(DSM)
    restored.timesteps, restored.sigma_begin = config["n_steps"], config["sigma_begin"]
    for name in _COORDINATES:
        setattr(restored, name, tables[f"coordinates.{name}"])
    return restored
