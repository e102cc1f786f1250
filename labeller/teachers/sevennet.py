"""SevenNet-0 (Park et al., JCTC 2024, 20, 4857), whose weights come inside the sevenn package."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols
from numpy.typing import NDArray

from distillery.dataset.layout import Label
from distillery.errors import Unavailable
from distillery.runtime.device import choose_device, release_cuda_memory
from distillery.runtime.stopping import Stop
from distillery.schema.label import Abilities
from distillery.structures.geometry import find_pairs
from distillery.structures.structure import Structure
from distillery.weights.checksums import sha256_of
from labeller.settings import LabellerSettings
from labeller.teachers.teacher import CONSERVATIVE, BudgetRange, Teacher

_TO_ASE = [0, 1, 2, 4, 5, 3]
"""sevenn orders the stress xx yy zz xy yz zx, ASE xx yy zz yz xz xy."""
_BUDGETS = {"cpu": BudgetRange(64, 64), "cuda": BudgetRange(2_000, 32_000)}
"""On cpu as measured (larger batches do not pay); on cuda a careful start that grows while memory lasts."""


class SevenNetTeacher(Teacher):
    """7net-0 in batches; energies, forces and stresses agree with `sevenn.calculator.SevenNetCalculator`."""

    name: str = ""
    version: str = f"sevenn=={version('sevenn')}"
    weights_sha256: str = ""
    licence: str = "MIT"
    device: str = "cpu"
    elements: tuple[str, ...] = ()
    tolerance = CONSERVATIVE
    abilities = Abilities(atomic_energies=True)

    def __init__(self, name: str, settings: LabellerSettings) -> None:
        self.name = name
        self._settings = settings
        self._model: Any = None
        self._cutoff = 0.0

    @property
    def budget(self) -> BudgetRange:
        """Atoms a batch on the device in use."""
        return _BUDGETS[self.device]

    def load(self, stop: Stop) -> None:
        """Build the model from the checkpoint in the package; Unavailable where the settings ask for another, or for a compiled one."""
        self._refuse_settings_of_others()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import sevenn.util

            path = Path(sevenn.util.pretrained_name_to_path(self.name))
            checkpoint = sevenn.util.load_checkpoint(str(path))
            model = checkpoint.build_model()
        self.device = choose_device(self._settings.device, "DISTILLERY_LABELLER_DEVICE")
        self.weights_sha256 = sha256_of(path)
        self.elements = tuple(chemical_symbols[z] for z in sorted(model.type_map or ()))
        self._cutoff = float(model.cutoff)
        model.set_is_batch_data(True)
        self._model = model.to(self.device).eval().requires_grad_(False)

    def _refuse_settings_of_others(self) -> None:
        if self._settings.weights_path is not None:
            raise Unavailable(
                f"the weights of {self.name} come inside the sevenn package, yet DISTILLERY_LABELLER_WEIGHTS_PATH is "
                f"{self._settings.weights_path}; remove it, or take the orb teacher that the file is of"
            )
        if self._settings.compile:
            raise Unavailable(f"{self.name} can't be compiled, yet DISTILLERY_LABELLER_COMPILE is true; remove it")

    def use_threads(self, n_threads: int) -> None:
        """Sets torch's number of threads for the whole process."""
        torch.set_num_threads(n_threads)

    def featurise(self, structures: Sequence[Structure]) -> "_Graphs":
        """A batch of neighbour graphs on the host."""
        return _join_graphs(structures, self._cutoff)

    def predict(self, features: "_Graphs") -> list[Label]:
        """Labels in ASE's units, order and sign."""
        output = self._model({name: tensor.to(self.device) for name, tensor in features.tensors.items()})
        energy = output["inferred_total_energy"].detach().cpu().double().reshape(-1).tolist()
        forces = np.split(output["inferred_force"].detach().cpu().numpy(), features.first[1:])
        stress = -output["inferred_stress"].detach().cpu().numpy().astype(np.float64).reshape(-1, 6)[:, _TO_ASE]
        atomic = np.split(output["atomic_energy"].detach().cpu().double().numpy().reshape(-1), features.first[1:])
        return [
            Label(energy[i], forces[i], stress[i] if is_periodic else None, atomic[i]) for i, is_periodic in enumerate(features.is_periodic)
        ]

    def release_memory(self) -> None:
        """Empty torch's cache on cuda."""
        release_cuda_memory()


@dataclass(frozen=True)
class _Graphs:
    """Several structures as one graph, as sevenn's model takes it.

    tensors      by sevenn's names; atoms and edges of all structures one after the other
    first        the first atom of each structure, shape (n_structures,)
    is_periodic  one a structure
    """

    tensors: dict[str, torch.Tensor]
    first: NDArray[np.int64]
    is_periodic: list[bool]


def _join_graphs(structures: Sequence[Structure], cutoff: float) -> _Graphs:
    """Every ordered pair within the cutoff is an edge."""
    import sevenn._keys as key

    pairs = [find_pairs(structure, cutoff) for structure in structures]
    n_atoms = np.array([len(structure) for structure in structures])
    first = np.cumsum(n_atoms) - n_atoms
    numbers = torch.from_numpy(np.concatenate([structure.numbers for structure in structures]).astype(np.int64))
    edges = [np.stack([own.i, own.j]) + start for own, start in zip(pairs, first, strict=True)]
    tensors = {
        key.NODE_FEATURE: numbers,
        key.NODE_ATTR: numbers,
        key.ATOMIC_NUMBERS: numbers,
        key.POS: torch.from_numpy(np.concatenate([structure.positions for structure in structures]).astype(np.float32)),
        key.EDGE_IDX: torch.from_numpy(np.concatenate(edges, axis=1)),
        key.EDGE_VEC: torch.from_numpy(np.concatenate([own.vector for own in pairs]).astype(np.float32)),
        key.CELL_VOLUME: torch.tensor([structure.volume for structure in structures], dtype=torch.float32),
        key.NUM_ATOMS: torch.from_numpy(n_atoms),
        key.BATCH: torch.from_numpy(np.repeat(np.arange(len(n_atoms)), n_atoms)),
    }
    return _Graphs(tensors, first, [structure.is_periodic for structure in structures])
