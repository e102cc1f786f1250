"""MatterGen behind the Model protocol: cells of 1-20 atoms from the diffusion model, repeated to the size that was asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from pydantic import Field

from distillery.errors import Unavailable, Unsupported
from distillery.generators.generator import Task
from distillery.generators.models.cell_sizes import draw_cell_sizes, select_cell_sizes
from distillery.generators.models.crystals import propose_crystal
from distillery.generators.models.model import Loaded, ReportProgress
from distillery.generators.models.sampling import SampledGenerator, require_packages
from distillery.generators.proposals import Proposal
from distillery.runtime.stopping import Stop
from distillery.schema.base import Element, Message
from distillery.schema.explain import suggest, validate_message
from distillery.schema.generate import Metadata, SystemCard
from distillery.structures.checks import SHORTEST_DISTANCE
from distillery.structures.structure import System
from distillery.weights.catalogue import CheckpointFiles, ensure_checkpoint
from distillery.weights.checksums import sha256_of
from services.mattergen.options import MatterGenOptions, elements_of
from services.mattergen.settings import MatterGenSettings

if TYPE_CHECKING:
    from services.mattergen.network import Network

_FOLDER = Path(__file__).parent
_CHECKPOINT, _CONFIG = "last.ckpt", "config.yaml"
ELEMENTS = tuple(symbol for symbol in chemical_symbols[1:84] if symbol not in {"He", "Ne", "Ar", "Kr", "Xe", "Tc", "Pm"})
"""H to Bi without noble gases, Tc and Pm: the elements of MatterGen's training set."""


class TrainedOn(Message):
    """What a checkpoint was trained on; the defaults are those of the published ones."""

    elements: tuple[Element, ...] = ELEMENTS
    cell_sizes: dict[Annotated[int, Field(ge=1)], Annotated[float, Field(gt=0)]] | None = Field(
        None, min_length=1, description="how often cells have how many atoms"
    )


@dataclass(frozen=True, eq=False)
class Trained:
    """A network with the elements it was trained on, and how often its cells have how many atoms."""

    network: "Network"
    elements: tuple[str, ...]
    cell_sizes: Mapping[int, float]


class MatterGenModel:
    """A `distillery.generators.models.model.Model`."""

    def __init__(self, settings: MatterGenSettings) -> None:
        self.settings = settings

    def describe(self, loaded: Loaded[Trained] | None) -> Metadata:
        """See `distillery.generators.models.model.Model`."""
        return Metadata(
            service="mattergen",
            version="1.1",
            method="MatterGen: crystals of 1-20 atoms by diffusion of elements, positions and cell, as near-cubic supercells",
            licence="MIT (code and weights); Zeni et al., Nature 639, 624 (2025)",
            systems={
                "crystal": SystemCard(
                    min_atoms=1,
                    max_atoms=1000,
                    default_min_atoms=50,
                    default_max_atoms=500,
                    elements=ELEMENTS if loaded is None else loaded.networks.elements,
                    options_schema=MatterGenOptions.model_json_schema(),
                )
            },
            n_max=500,
            minimum_distance=SHORTEST_DISTANCE,
            generative=True,
        )

    @property
    def options(self) -> Mapping[System, type[Message]]:
        return {"crystal": MatterGenOptions}

    def load(self, device: str, stop: Stop) -> Loaded[Trained]:
        """Import upstream's code and load the checkpoint."""
        from distillery.generators.models.checkpoints import convert_once
        from services.mattergen.network import build_network, pick_tensors, read_config
        from services.mattergen.upstream import import_upstream

        upstream = import_upstream()
        settings = self.settings
        checkpoint = ensure_checkpoint(_FOLDER, settings.checkpoint, settings.weights, download=settings.download, stop=stop)
        file = choose_weights(checkpoint)
        config = read_config(checkpoint.files[_CONFIG])
        converted = convert_once(file, sha256_of(file), settings.weights / _FOLDER.name / "converted", {}, pick_tensors)
        network = build_network(config, converted.tensors, device)
        trained_on = validate_message(TrainedOn, config.get("trained_on", {}), f"{_CONFIG}: trained_on")
        trained = Trained(network, trained_on.elements, trained_on.cell_sizes or _read_cell_sizes())
        return Loaded(trained, device, upstream, checkpoint.name, checkpoint.sha256)

    def check(self, task: Task, loaded: Loaded[Trained]) -> None:
        """Unsupported names another checkpoint, properties it does not know, elements that exclude each other, or a range nothing fits."""
        trained, options, name = loaded.networks, cast(MatterGenOptions, task.options), loaded.checkpoint
        if options.checkpoint is not None and options.checkpoint != name:
            raise Unsupported(
                f"this service has loaded the checkpoint {name}, not {options.checkpoint}; start another with "
                f"DISTILLERY_MATTERGEN_CHECKPOINT={options.checkpoint}"
            )
        for unknown in (p for p in options.properties if p not in trained.network.properties):
            raise Unsupported(f"the checkpoint {name} can't be conditioned on {unknown!r}{suggest(unknown, trained.network.properties)}")
        absent = [p for p in trained.network.properties if p not in options.properties]
        if options.properties and absent and trained.network.all_or_none:
            raise Unsupported(
                f"the checkpoint {name} was trained with all of {', '.join(trained.network.properties)} or none of them, never without "
                f"{', '.join(absent)} alone; name all"
            )
        foreign = [e for e in elements_of(options.properties) if e not in task.elements]
        if foreign:
            raise Unsupported(
                f"chemical_system names {' '.join(foreign)}, which the request does not allow; its elements are {' '.join(task.elements)}"
            )
        if not select_cell_sizes(trained.cell_sizes, task.min_atoms, task.max_atoms):
            cells = f"cells of {min(trained.cell_sizes)}-{max(trained.cell_sizes)} atoms"
            raise Unsupported(f"no supercell of {cells} has {task.min_atoms}-{task.max_atoms} atoms; widen the range")

    def draw(self, task: Task, loaded: Loaded[Trained], n: int, seed: int, report: ReportProgress) -> Sequence[Proposal | str]:
        """See `distillery.generators.models.model.Model`."""
        from services.mattergen.sampler import Condition, draw_samples

        trained, options = loaded.networks, cast(MatterGenOptions, task.options)
        shares = select_cell_sizes(trained.cell_sizes, task.min_atoms, task.max_atoms)
        sizes = draw_cell_sizes(shares, n, np.random.default_rng([seed, 0]))
        allowed = elements_of(options.properties) or task.elements
        condition = Condition(options.properties, options.guidance if options.properties else 0.0)
        samples = draw_samples(trained.network, sizes, sorted(atomic_numbers[e] for e in allowed), condition, report)
        origin = {"properties": dict(options.properties), "guidance": options.guidance} if options.properties else {}
        return [propose_crystal(sample, task, origin, np.random.default_rng([seed, 1, place])) for place, sample in enumerate(samples)]


def choose_weights(checkpoint: CheckpointFiles) -> Path:
    """The weights of a checkpoint: last.ckpt, or else the only .ckpt there is, such as epoch=9.ckpt of a fine-tuned one."""
    found = [path for path in checkpoint.find({".ckpt"}) if path.suffix == ".ckpt"]
    last = [path for path in found if path.name == _CHECKPOINT]
    if _CONFIG not in checkpoint.files or not found:
        missing = [name for name, is_there in ((_CHECKPOINT, found), (_CONFIG, _CONFIG in checkpoint.files)) if not is_there]
        raise Unavailable(f"{checkpoint.name} lacks {' and '.join(missing)}; a MatterGen checkpoint is {_CHECKPOINT} and {_CONFIG}")
    if not last and len(found) > 1:
        raise Unavailable(
            f"{checkpoint.name} holds {', '.join(p.name for p in found)} and no {_CHECKPOINT}; leave the one to be used there"
        )
    return (last or found)[0]


def _read_cell_sizes() -> Mapping[int, float]:
    """How often cells have how many atoms in MatterGen's training set, as upstream has it."""
    from mattergen.common.data.num_atoms_distribution import NUM_ATOMS_DISTRIBUTIONS

    return {int(size): float(share) for size, share in NUM_ATOMS_DISTRIBUTIONS["ALEX_MP_20"].items()}


def build() -> SampledGenerator:
    """The service's generator, set up from the environment."""
    require_packages("torch", "omegaconf")
    return SampledGenerator(MatterGenModel(MatterGenSettings()))
