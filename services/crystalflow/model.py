"""CrystalFlow as a `generative.sampling.Model`: crystals de novo or of compositions, repeated to the wanted size."""

import hashlib
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from ase.data import chemical_symbols

from contract.checks import SHORTEST_DISTANCE, find_input_fault
from contract.device import choose_device, release_cuda_memory
from contract.generator import Task
from contract.identity import structure_hash
from contract.messages import Message, Metadata, SystemCard
from contract.problems import Unavailable, Unsupported
from contract.proposals import Proposal, Rejected
from contract.structures import Structure, System
from contract.supercell import expand_to
from contract.weights import ensure_checkpoint
from generative.sampling import Report, watching
from services.crystalflow.batch import LARGEST_NUMBER, Integration, sample, to_batch
from services.crystalflow.cells import Content, check_fit, draw_contents
from services.crystalflow.conditions import is_guided
from services.crystalflow.network import Network, read_networks
from services.crystalflow.options import CrystalFlowOptions
from services.crystalflow.settings import CrystalFlowSettings
from services.crystalflow.steering import steered
from services.crystalflow.upstream import import_upstream

FOLDER = Path(__file__).parent
ELEMENTS = tuple(chemical_symbols[1 : LARGEST_NUMBER + 1])
ANNEAL_CSP = 5.0
"""Upstream's `--anneal_coords --anneal_slope 5` for compositions."""


@dataclass(frozen=True)
class _Loaded:
    """What `load` brought: networks by whether they work de novo, and what metadata says of them."""

    networks: Mapping[bool, Network]
    checkpoint: str
    sha256: str
    upstream: str
    device: str


class CrystalFlow:
    """See the README for the method."""

    def __init__(self, settings: CrystalFlowSettings) -> None:
        self._settings = settings
        self._loaded: _Loaded | None = None
        self._closing = threading.Event()

    @property
    def batch(self) -> int:
        return self._settings.batch

    @property
    def threads(self) -> int:
        return self._settings.threads

    @property
    def options(self) -> Mapping[System, type[Message]]:
        return {"crystal": CrystalFlowOptions}

    @property
    def metadata(self) -> Metadata:
        return Metadata(
            service="crystalflow",
            version="1.0",
            method="CrystalFlow (arXiv 2412.11693): small cells by flow matching, de novo or of compositions, as near-cubic supercells",
            licence="MIT (CrystalFlow); the checkpoint's own",
            systems={
                "crystal": SystemCard(
                    min_atoms=1,
                    max_atoms=1000,
                    default_min_atoms=50,
                    default_max_atoms=500,
                    elements=ELEMENTS,
                    options_schema=CrystalFlowOptions.model_json_schema(),
                )
            },
            n_max=1000,
            minimum_distance=SHORTEST_DISTANCE,
            generative=True,
            versions=self._versions(),
            weights_sha256=None if self._loaded is None else self._loaded.sha256,
        )

    def load(self) -> None:
        """See `generative.sampling.Model`."""
        settings = self._settings
        names = [name for name in (settings.checkpoint, settings.csp_checkpoint) if name]
        if not settings.checkpoint:
            raise Unavailable(
                "crystalflow has no checkpoint: set DISTILLERY_CRYSTALFLOW_CHECKPOINT to a .ckpt of "
                "https://github.com/ixsluo/CrystalFlow/releases (a file, a folder that holds it, or a URL), or to small to try it out"
            )
        upstream = import_upstream()
        device = choose_device(settings.device, "DISTILLERY_CRYSTALFLOW_DEVICE")
        found = [ensure_checkpoint(FOLDER, name, settings.weights, download=settings.download, stop=self._closing) for name in names]
        cache = settings.weights / FOLDER.name / "converted"
        networks = [network for checkpoint in found for network in read_networks(checkpoint, cache, device)]
        by_kind = {network.is_de_novo: network for network in networks}
        if len(by_kind) < len(networks):
            raise Unavailable(
                f"{' and '.join(names)} hold two checkpoints of one kind; one de novo and one for compositions is what is used"
            )
        sha256 = found[0].sha256 if len(found) == 1 else _digest(c.sha256 for c in found)
        self._loaded = _Loaded(by_kind, " ".join(c.name for c in found), sha256, upstream, device)

    def check(self, task: Task) -> None:
        """Unsupported names what this checkpoint, or any, can't do."""
        options = cast(CrystalFlowOptions, task.options)
        self._choose(options).conditions.check(options)
        check_fit(task, options)

    def draw(self, task: Task, n: int, seed: int, report: Report) -> Sequence[Proposal | str]:
        """See `generative.sampling.Model`."""
        options = cast(CrystalFlowOptions, task.options)
        network, loaded = self._choose(options), self._require()
        contents = draw_contents(task, options, n, np.random.default_rng(seed))
        batch = to_batch(contents, network.conditions.scale(options)).to(loaded.device)
        cells = _sample(network, batch, task, options, report)
        common = {"model": "crystalflow", "checkpoint": loaded.checkpoint, "seed": seed, "batch": n}
        origins = [_describe(common, place, content) for place, content in enumerate(contents)]
        return [_propose(cell, origin, task) for cell, origin in zip(cells, origins, strict=True)]

    def close(self) -> None:
        """See `generative.sampling.Model`."""
        self._closing.set()
        self._loaded = None
        release_cuda_memory()

    def _require(self) -> _Loaded:
        if self._loaded is None:
            raise Unavailable("crystalflow is not loaded")
        return self._loaded

    def _choose(self, options: CrystalFlowOptions) -> Network:
        """The network for the request; Unsupported if it is not loaded."""
        networks = self._require().networks
        if not options.compositions and True not in networks:
            raise Unsupported("this checkpoint predicts structures of compositions only: name some in options.compositions")
        if options.compositions and False not in networks:
            raise Unsupported("options.compositions: this checkpoint works de novo only; set DISTILLERY_CRYSTALFLOW_CSP_CHECKPOINT too")
        return networks[not options.compositions]

    def _versions(self) -> dict[str, str]:
        settings, loaded = self._settings, self._loaded
        versions = {"torch": torch.__version__, "threads": str(settings.threads), "batch": str(settings.batch)}
        if loaded is None:
            return versions
        return {**versions, "upstream": loaded.upstream, "device": loaded.device, "checkpoint": loaded.checkpoint}


def _digest(digests: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _sample(network: Network, batch: Any, task: Task, options: CrystalFlowOptions, report: Report) -> list[Structure | str]:
    """Cells of the task's elements."""
    anneal = options.anneal if options.anneal is not None else ANNEAL_CSP if options.compositions else 0.0
    integration = Integration(options.steps, anneal, options.guidance if network.conditions.scales else None)
    model: Any = network.model
    with ExitStack() as stack:
        stack.enter_context(watching(model.time_embedding, options.steps, report))
        if network.is_de_novo:
            stack.enter_context(steered(model, task.elements, options.steps, 2 if is_guided(options) else 1))
        return sample(model, batch, integration)


def _describe(common: Mapping[str, Any], place: int, content: Content) -> dict[str, Any]:
    own = {"composition": content.composition} if content.composition else {}
    return {**common, "place": place, "cell_atoms": content.n_atoms, **own}


def _propose(cell: Structure | str, origin: Mapping[str, Any], task: Task) -> Proposal | str:
    """The supercell, its key the hash of the cell; or why there is none."""
    if isinstance(cell, str):
        return cell
    fault = find_input_fault(cell, task.elements)
    if fault is not None:
        return fault.reason
    rng = np.random.default_rng([origin["seed"], origin["place"]])
    try:
        larger = expand_to(replace(cell, origin=origin), task.min_atoms, task.max_atoms, rng)
    except Rejected as rejected:
        return rejected.reason
    return Proposal((larger,), key=structure_hash(cell))
