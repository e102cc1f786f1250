"""Any ASE calculator as a teacher: one structure at a time, in worker processes, so that a crash or a hang costs one structure."""

import threading
from collections.abc import Sequence
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, metadata, packages_distributions
from importlib.util import find_spec
from pathlib import Path

from ase.data import chemical_symbols

from distillery.dataset.layout import Label
from distillery.runtime.stopping import Stop
from distillery.schema.label import Abilities
from distillery.schema.teacher_name import CalculatorName
from distillery.structures.structure import Structure
from labeller.calculators.process import CalculatorProcess
from labeller.calculators.worker import Outline
from labeller.settings import LabellerSettings
from labeller.teachers.teacher import CONSERVATIVE, DIRECT, BudgetRange, PhysicsTolerance, Teacher

EVERY_ELEMENT = tuple(chemical_symbols[1:])


class CalculatorTeacher(Teacher):
    """An ASE calculator, made in each of as many processes as the labeller predicts in; a process that is lost is replaced.

    What it can't do the calculator says (`labeller.calculators.worker.Outline`).
    """

    name: str = ""
    version: str = ""
    weights_sha256: str = ""
    licence: str = ""
    device: str = "cpu"

    def __init__(self, name: str, calculator: CalculatorName, settings: LabellerSettings, package: str = "") -> None:
        """`package` is whose version and licence are told; that of the calculator's module if empty."""
        self.name, self._calculator = name, calculator
        self.device = "cuda" if settings.device == "cuda" else "cpu"
        self._seconds = settings.structure_seconds
        self._free: list[CalculatorProcess] = []
        self._lock = threading.Lock()
        self._n_threads = 1
        self._outline: Outline | None = None
        self.version, self.licence = _describe_package(package or _find_package(calculator.module), calculator.module)
        self.weights_sha256 = _digest(calculator)

    @property
    def budget(self) -> BudgetRange:
        """One structure a batch."""
        return BudgetRange(1, 1)

    @property
    def elements(self) -> tuple[str, ...]:
        """All of them where the calculator does not say: it will refuse what it does not know."""
        return self._told.elements or EVERY_ELEMENT

    @property
    def abilities(self) -> Abilities:
        """As the calculator says."""
        told = self._told
        return Abilities(
            stress=told.stress,
            periodic=told.periodic,
            charge=told.knows_charge,
            spin=told.knows_spin,
            atomic_energies=told.atomic_energies,
        )

    @property
    def tolerance(self) -> PhysicsTolerance:
        """As the calculator says."""
        return CONSERVATIVE if self._told.conservative else DIRECT

    @property
    def _told(self) -> Outline:
        assert self._outline is not None, "asked for after `load` only"
        return self._outline

    def load(self, stop: Stop) -> None:
        """Start the first process; Unavailable says what is missing, with the calculator's own words."""
        self._stop = stop
        process = self._start()
        self._outline = process.outline
        self._free.append(process)

    def use_threads(self, n_threads: int) -> None:
        """Threads that each process may use; those that were started with others are ended."""
        if n_threads != self._n_threads:
            self._n_threads = n_threads
            self.close()

    def predict(self, features: Sequence[Structure]) -> list[Label]:
        """Labels of structures, which come one by one; StructureFailed says what was raised, or that the process died or took too long."""
        return [self._label(structure) for structure in features]

    def _label(self, structure: Structure) -> Label:
        process = self._take()
        try:
            label: Label = process.label(structure, self._seconds)
            return label
        finally:
            if process.is_alive:
                with self._lock:
                    self._free.append(process)

    def _take(self) -> CalculatorProcess:
        with self._lock:
            if self._free:
                return self._free.pop()
        return self._start()

    def _start(self) -> CalculatorProcess:
        return CalculatorProcess(self._calculator, self._n_threads, self._stop)

    def close(self) -> None:
        """End all processes."""
        with self._lock:
            free, self._free = self._free, []
        for process in free:
            process.end()


def _digest(calculator: CalculatorName) -> str:
    """sha256 of the name, of the files that its options name, and of a module that belongs to no package: what labels depend on."""
    digest = sha256(str(calculator).encode())
    files = [Path(value) for value in calculator.options.values() if isinstance(value, str) and Path(value).is_file()]
    if not _find_package(calculator.module) and (own := _find_source(calculator.module)) is not None:
        files.append(own)
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _find_source(module: str) -> Path | None:
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin and Path(spec.origin).is_file() else None


def _find_package(module: str) -> str:
    """The distribution that a module is of; empty if it is of none."""
    return next(iter(packages_distributions().get(module.split(".")[0], ())), "")


def _describe_package(package: str, module: str) -> tuple[str, str]:
    """Version and licence."""
    try:
        found = metadata(package)
    except (PackageNotFoundError, ValueError):
        return module, ""
    licence = next((str(found[key]) for key in ("License-Expression", "License") if key in found), "").split("\n")[0]
    return f"{found['Name']}=={found['Version']}", licence
