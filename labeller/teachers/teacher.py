"""What a teacher is: structures in, energies, forces and stresses out; and what a family of teachers is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from distillery.dataset.layout import Label
from distillery.runtime.stopping import Stop
from distillery.schema.label import Abilities
from distillery.structures.structure import Structure
from labeller.settings import LabellerSettings


@dataclass(frozen=True)
class BudgetRange:
    """Atoms a batch: where to start and how far to grow while memory lasts."""

    start: int
    most: int


@dataclass(frozen=True)
class PhysicsTolerance:
    """How exactly a teacher keeps the laws of physics (labeller/physics.py).

    slope, cosine  of forces and stress against differences of the energy: at most so far from 1, at least so much
    energy         the same structure written otherwise, eV/atom
    forces         the same, as a share of 1 eV/Å and the largest force
    net_force      sum of the forces over the sum of their norms, and torque likewise where nothing is periodic
    stiffness      of known molecules and crystals that which comes nearest: at most so many times what was measured, or that part of it
    """

    slope: float
    cosine: float
    energy: float
    forces: float
    net_force: float
    stiffness: float = 1.5


CONSERVATIVE = PhysicsTolerance(slope=0.03, cosine=0.999, energy=1e-3, forces=1e-2, net_force=1e-3)
"""Forces and stress are derivatives of the energy, which turns with the structure; 7net-0 has 0.0003, 0.99999, 2e-6, 1e-5 and 1e-6."""
DIRECT = PhysicsTolerance(slope=0.25, cosine=0.9, energy=2e-2, forces=0.2, net_force=0.05)
"""Forces and stress are outputs of their own, and the model has learnt only to turn with the structure."""


class StructureFailed(Exception):
    """A teacher could not label a structure that it was given alone; `reason` is counted in the report.

    reason  teacher_failed (it said so) | teacher_crashed (its process died) | teacher_timeout
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


class Teacher(Protocol):
    """A model that labels structures. All but `name` may be asked only after `load`.

    A class that inherits from it may leave out what it has no use for: loading, threads, features and device memory.
    Their bodies say `return`, without which type checkers take them for abstract.
    """

    @property
    def name(self) -> str:
        """The name it is asked for by."""

    @property
    def version(self) -> str:
        """`package==version`."""

    @property
    def weights_sha256(self) -> str:
        """sha256 of the weights file."""

    @property
    def licence(self) -> str:
        """Licence of the weights."""

    @property
    def device(self) -> str:
        """cpu | cuda."""

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols it was trained on."""

    @property
    def budget(self) -> BudgetRange:
        """The atom budget it works well with on its device."""

    @property
    def tolerance(self) -> PhysicsTolerance:
        """How exactly it keeps the laws of physics: `CONSERVATIVE` where forces are derivatives of the energy, else `DIRECT`."""
        return CONSERVATIVE

    @property
    def abilities(self) -> Abilities:
        """What it can do; if it does not say, stress and periodicity, but no charges and spins: those are refused by name."""
        return Abilities()

    def load(self, stop: Stop) -> None:
        """Load the weights; Unavailable says what is missing and where to put it, Stopped soon after `stop` is set."""
        return

    def use_threads(self, n_threads: int) -> None:
        """How many threads one `predict` may use on cpu; called once after `load`."""
        return

    def featurise(self, structures: Sequence[Structure]) -> Any:
        """What `predict` takes, made on the host; runs beside `predict`, in another thread. The structures themselves if not overridden."""
        return structures

    def predict(self, features: Any) -> list[Label]:
        """One label a structure, in order. On cpu several threads may call it at once."""

    def release_memory(self) -> None:
        """Give cached device memory back; called after an allocation failed."""
        return

    def close(self) -> None:
        """End what it has started; called once, when nothing more is asked."""
        return


@dataclass(frozen=True)
class TeacherFamily:
    """Teachers made by one function. Importing it must be cheap: `create` imports what is heavy.

    names   those it knows
    create  makes the teacher of a name, not yet loaded; ImportError if what it needs is not installed
    prefix  of an open family: every name that begins so is its own; empty if it knows its names alone
    needs   packages that it can't do without; asked for before anything is loaded
    extra   of the package that it comes with, by which pip installs what it needs; empty if it has none
    find_elements   of a name the chemical symbols that it knows, none where that shows only once it is loaded
    find_abilities  of a name what it can do, as far as that is known before it is loaded
    """

    names: tuple[str, ...]
    create: Callable[[str, LabellerSettings], Teacher]
    prefix: str = ""
    needs: tuple[str, ...] = ()
    extra: str = ""
    find_elements: Callable[[str], tuple[str, ...]] = lambda name: ()
    find_abilities: Callable[[str], Abilities] = lambda name: Abilities()
