"""Orb teachers (Neumann et al., arXiv:2410.22570; Rhodes et al., arXiv:2504.06231), by way of orb-models."""

import importlib
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms

from distillery.dataset.layout import Label
from distillery.errors import Unavailable
from distillery.runtime.device import choose_device, release_cuda_memory
from distillery.runtime.stopping import Stop
from distillery.schema.label import Abilities
from distillery.structures.structure import Structure
from distillery.weights.catalogue import ensure_checkpoint, read_weights_file
from labeller.settings import LabellerSettings
from labeller.teachers.teacher import CONSERVATIVE, DIRECT, BudgetRange, PhysicsTolerance, Teacher
from labeller.teachers.training_elements import MATERIALS, OMOL

_LABELLER = Path(__file__).parents[1]
_PRECISION = "float32-high"
_OLDEST_PYTHON = (3, 12)
_HOW = "`pip install 'distillery[labeller]'`" + (
    " and then `pip install --no-deps orb-models`, whose pins can't all be met on this Python" if sys.version_info >= (3, 13) else ""
)
_BUDGETS = {"cpu": BudgetRange(256, 256), "cuda": BudgetRange(8_000, 64_000)}


@dataclass(frozen=True)
class Graphs:
    """One batch of graphs and where its structures stood.

    order          positions in the batch asked for, one a graph
    is_degenerate  graphs without edges, which torch.compile can't take
    """

    batch: Any
    order: list[int]
    is_degenerate: bool


@dataclass(frozen=True)
class Features:
    """What `featurise` makes."""

    groups: list[Graphs]
    periodic: list[bool]


class OrbTeacher(Teacher):
    """An orb model in batches. Loading it sets torch's float32 matmul precision to "high" and its compile stance process-wide."""

    name: str = ""
    version: str = ""
    weights_sha256: str = ""
    licence: str = ""
    device: str = "cpu"
    elements: tuple[str, ...] = ()

    def __init__(self, name: str, settings: LabellerSettings) -> None:
        self.name = name
        self._settings = settings
        self._model: Any = None
        self._adapter: Any = None
        self._is_compiled = False
        self._needs_charge = name.endswith("omol")
        self._can_compile = "conservative" in name

    @property
    def abilities(self) -> Abilities:
        """Models of OMol25 know of charge and spin."""
        return Abilities(charge=self._needs_charge, spin=self._needs_charge)

    @property
    def tolerance(self) -> PhysicsTolerance:
        """Orb models are not equivariant by construction, so those with derivatives as forces keep the laws of turning as `DIRECT` does."""
        return replace(DIRECT, slope=CONSERVATIVE.slope, cosine=CONSERVATIVE.cosine) if self._can_compile else DIRECT

    @property
    def budget(self) -> BudgetRange:
        """Atoms a batch on the device in use."""
        return _BUDGETS[self.device]

    def load(self, stop: Stop) -> None:
        """Find or fetch the weights and build the model; Unavailable where Python, the package or the weights are missing.

        Stopped soon after `stop` is set while they are fetched.
        Direct models are never compiled: orb-models (0.7.0) compiles their `__call__`, which their `predict` does not use.
        """
        if self._settings.compile and not self._can_compile:
            raise Unavailable(
                f"{self.name} can't be compiled, yet DISTILLERY_LABELLER_COMPILE is true; remove it or take an orb-v3-conservative teacher"
            )
        loader = _find_loader(self.name)
        checkpoint = str(self._settings.weights_path or self.name)
        weights = ensure_checkpoint(_LABELLER, checkpoint, self._settings.weights, download=self._settings.download, stop=stop)
        if len(weights.files) != 1:
            raise Unavailable(f"{checkpoint} holds {', '.join(weights.files)}; name one file in DISTILLERY_LABELLER_WEIGHTS_PATH")
        self.device = choose_device(self._settings.device, "DISTILLERY_LABELLER_DEVICE")
        is_wanted = self.device == "cuda" if self._settings.compile is None else self._settings.compile
        self._is_compiled = self._can_compile and is_wanted
        # nvalchemiops compiles a helper of its neighbour lists in any case, which took 16 s and was no faster.
        torch.compiler.set_stance("default" if self._is_compiled else "force_eager")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._model, self._adapter = loader(
                weights_path=str(*weights.files.values()), device=self.device, precision=_PRECISION, compile=self._is_compiled
            )
        self.weights_sha256 = weights.sha256
        self.licence = read_weights_file(_LABELLER).licence if weights.name == self.name else "that of the weights file given"
        self.version = f"orb-models=={version('orb-models')}"
        self.elements = OMOL if self._needs_charge else MATERIALS  # the model itself answers for any atomic number up to 117

    def use_threads(self, n_threads: int) -> None:
        """Sets torch's number of threads for the whole process."""
        torch.set_num_threads(n_threads)

    def featurise(self, structures: Sequence[Structure]) -> Features:
        """Neighbour graphs on the host.

        Periodic and other structures are built apart, for orb-models builds no mixed lists, and split before they are
        joined: `AtomGraphs.batch` silently gives batches of batches the wrong neighbours (0.7.0).
        """
        single: dict[int, Any] = {}
        for periodic in (True, False):
            chosen = [i for i, s in enumerate(structures) if s.is_periodic == periodic]
            if chosen:
                graphs = self._adapter.from_ase_atoms_list([self._to_atoms(structures[i]) for i in chosen], device="cpu")
                single |= zip(chosen, graphs.split(), strict=True)
        degenerate = {i for i, graph in single.items() if self._is_compiled and int(graph.n_edge.sum()) == 0}
        groups = [self._join(single, [i for i in single if (i in degenerate) == alone], alone) for alone in (False, True)]
        return Features([group for group in groups if group.order], [s.is_periodic for s in structures])

    def _to_atoms(self, structure: Structure) -> Atoms:
        atoms = Atoms(numbers=structure.numbers, positions=structure.positions, cell=structure.cell, pbc=structure.pbc)
        if self._needs_charge:
            atoms.info = {"charge": structure.charge, "spin": structure.spin_multiplicity}
        return atoms

    def _join(self, single: dict[int, Any], order: list[int], is_degenerate: bool) -> Graphs:
        return Graphs(self._adapter.batch([single[i] for i in order]) if order else None, order, is_degenerate)

    def predict(self, features: Features) -> list[Label]:
        """Labels in ASE's units, order and sign; no stress where not periodic or where the model has none."""
        labels: dict[int, Label] = {}
        for group in features.groups:
            with torch.compiler.set_stance("force_eager") if group.is_degenerate else nullcontext():
                output = self._model.predict(group.batch.to(self.device), split=False)
            for place, label in zip(group.order, _to_labels(output, group, features.periodic), strict=True):
                labels[place] = label
        return [labels[place] for place in range(len(features.periodic))]

    def release_memory(self) -> None:
        """Empty torch's cache on cuda."""
        release_cuda_memory()


def _to_labels(output: dict[str, Any], group: Graphs, periodic: list[bool]) -> list[Label]:
    energy = output["energy"].detach().cpu().double().reshape(-1).tolist()
    forces = output["grad_forces" if "grad_forces" in output else "forces"].detach().cpu().numpy().astype(np.float32)
    found = output.get("grad_stress", output.get("stress"))
    stress = None if found is None else found.detach().cpu().numpy().astype(np.float64).reshape(-1, 6)
    splits = np.concatenate([[0], np.cumsum(group.batch.n_node.cpu().numpy())])
    return [
        Label(energy[k], forces[splits[k] : splits[k + 1]], stress[k] if stress is not None and periodic[place] else None)
        for k, place in enumerate(group.order)
    ]


def _find_loader(name: str) -> Callable[..., tuple[Any, Any]]:
    if sys.version_info < _OLDEST_PYTHON:
        have = ".".join(map(str, sys.version_info[:3]))
        raise Unavailable(
            f"{name} needs Python >= 3.12 and orb-models, this is Python {have}; run the labeller on Python 3.12 or take 7net-0"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pretrained = importlib.import_module("orb_models.forcefield.pretrained")
    except ImportError as error:
        raise Unavailable(f"{name} needs orb-models, which can't be imported ({error}): {_HOW}, or take 7net-0") from error
    loader: Callable[..., tuple[Any, Any]] = pretrained.ORB_PRETRAINED_MODELS[name]
    return loader
