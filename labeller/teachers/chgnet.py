"""CHGNet (Deng et al., Nat. Mach. Intell. 5, 1031, 2023) as a teacher, by its own package, which holds the weights, in batches."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import chgnet
import numpy as np
import torch
from ase.units import GPa
from chgnet.model.model import CHGNet

from distillery.dataset.layout import Label
from distillery.errors import Unavailable
from distillery.runtime.device import choose_device, release_cuda_memory
from distillery.runtime.stopping import Stop
from distillery.schema.label import Abilities
from distillery.structures.strain import VOIGT
from distillery.structures.structure import Structure
from distillery.weights.checksums import sha256_of
from labeller.settings import LabellerSettings
from labeller.teachers.teacher import BudgetRange, Teacher
from labeller.teachers.training_elements import MATERIALS

_CHECKPOINTS = {"chgnet": "0.3.0", "chgnet-r2scan": "r2scan"}
_BUDGETS = {"cpu": BudgetRange(128, 128), "cuda": BudgetRange(2_000, 16_000)}
_VACUUM = 20.0
"""Å around what is not periodic: CHGNet knows cells only, and its atoms see 6 Å far."""


@dataclass(frozen=True)
class Features:
    """What `featurise` makes: a graph a structure, and which of them are periodic."""

    graphs: list[Any]
    periodic: list[bool]


class ChgnetTeacher(Teacher):
    """CHGNet 0.3.0 or its r2SCAN version; energies, forces and stresses agree with `chgnet.model.CHGNetCalculator`."""

    name: str = ""
    version: str = f"chgnet=={version('chgnet')}"
    weights_sha256: str = ""
    licence: str = "BSD-3-Clause"
    device: str = "cpu"
    elements: tuple[str, ...] = MATERIALS
    abilities = Abilities(atomic_energies=True)

    def __init__(self, name: str, settings: LabellerSettings) -> None:
        self.name, self._settings = name, settings
        self._model: Any = None

    @property
    def budget(self) -> BudgetRange:
        """Atoms a batch on the device in use."""
        return _BUDGETS[self.device]

    def load(self, stop: Stop) -> None:
        """Build the model from the checkpoint in the package; Unavailable where the settings ask for another, or for a compiled one."""
        if self._settings.weights_path is not None or self._settings.compile:
            raise Unavailable(f"{self.name} has its weights in its package and is not compiled: unset WEIGHTS_PATH and COMPILE")
        self.device = choose_device(self._settings.device, "DISTILLERY_LABELLER_DEVICE")
        checkpoint = _CHECKPOINTS[self.name]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._model = CHGNet.load(model_name=checkpoint, use_device=self.device, verbose=False).eval()
        (path,) = (Path(chgnet.__file__).parent / "pretrained" / checkpoint).glob("*.pth.tar")
        self.weights_sha256 = sha256_of(path)
        self._model.graph_converter.set_isolated_atom_response("ignore")

    def use_threads(self, n_threads: int) -> None:
        """Threads of one prediction on cpu."""
        torch.set_num_threads(n_threads)

    def featurise(self, structures: Sequence[Structure]) -> Features:
        """Graphs of atoms and of bonds; what is not periodic stands in a large box."""
        converter = self._model.graph_converter
        return Features([converter(_to_pymatgen(s)) for s in structures], [s.is_periodic for s in structures])

    def predict(self, features: Features) -> list[Label]:
        """One label a structure, in order."""
        n = len(features.graphs)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Converting a tensor with requires_grad", category=UserWarning)  # upstream's own
            answer = self._model.predict_graph(features.graphs, task="efs", return_site_energies=True, batch_size=n)
        return [_label(one, periodic) for one, periodic in zip([answer] if n == 1 else answer, features.periodic, strict=True)]

    def release_memory(self) -> None:
        """Empty torch's cache on cuda."""
        release_cuda_memory()


def _to_pymatgen(structure: Structure) -> Any:
    from pymatgen.core.structure import Structure as Crystal

    cell = structure.cell if structure.is_periodic else np.diag(np.ptp(structure.positions, axis=0) + _VACUUM)
    return Crystal(cell, structure.numbers.tolist(), structure.positions, coords_are_cartesian=True)


def _label(answer: dict[str, Any], periodic: bool) -> Label:
    """CHGNet's energies are per atom, its stresses in GPa."""
    forces = np.asarray(answer["f"], np.float32)
    stress = np.array([answer["s"][i, j] for i, j in VOIGT], np.float64) * GPa if periodic else None
    atomic = np.asarray(answer["site_energies"], np.float64).reshape(-1)
    return Label(float(answer["e"]) * len(forces), forces, stress, atomic)
