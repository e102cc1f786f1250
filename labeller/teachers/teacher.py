"""What a teacher is: structures in, energies, forces and stresses out; and what a family of teachers is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from distillery.dataset.layout import Label
from distillery.runtime.stopping import Stop
from distillery.structures.structure import Structure
from labeller.settings import LabellerSettings


@dataclass(frozen=True)
class BudgetRange:
    """Atoms a batch: where to start and how far to grow while memory lasts."""

    start: int
    most: int


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


@dataclass(frozen=True)
class TeacherFamily:
    """Teachers made by one function. Importing it must be cheap: `create` imports what is heavy.

    names   those it knows
    create  makes the teacher of a name, not yet loaded; ImportError if what it needs is not installed
    prefix  of an open family: every name that begins so is its own; empty if it knows its names alone
    """

    names: tuple[str, ...]
    create: Callable[[str, LabellerSettings], Teacher]
    prefix: str = ""
