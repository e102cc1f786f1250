"""Where a student goes by itself: dynamics from structures of a dataset, stopped where no physics goes on, frames kept on the way."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import BaseCalculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from numpy.typing import NDArray

from distillery.assess.dynamics import TIMESTEP, find_fault
from distillery.dataset.blocks import read_blocks
from distillery.dataset.layout import open_dataset
from distillery.dataset.reading import read_dataset
from distillery.dataset.splits import read_parents, split_dataset
from distillery.derive.novelty import choose_new, read_known
from distillery.errors import InvalidRequest
from distillery.report.disagreement import find_pairs
from distillery.structures.structure import Structure, from_ase, to_ase

RANDOM = "random"
"""Why a frame was chosen: others were new, or the last before something went wrong."""
_MOST_HELD = 100
FRICTION = 0.02
"""1/fs, of Langevin dynamics."""


@dataclass(frozen=True, eq=False)
class Start:
    """A structure that dynamics begin with, its source, and the parent whose side of a split its frames share."""

    structure: Structure
    source: str
    parent: str


@dataclass(frozen=True)
class Course:
    """How dynamics are run.

    temperature  K, of the first velocities and of the bath
    steps        of 1 fs
    every        steps between the frames that are kept
    """

    temperature: float
    steps: int
    every: int


@dataclass(frozen=True, eq=False)
class Explored:
    """What came of many starts.

    frames   sound ones, each with the student's energy and forces; `info` has source, parent, system, step and where it started
    last     which of them are the last sound ones before a fault
    faults   trajectories by what went wrong
    n_whole  trajectories that were sound to their end
    """

    frames: list[Atoms]
    last: list[int]
    faults: Counter[str]
    n_whole: int


def draw_starts(path: Path, n: int, *, seed: int) -> list[Start]:
    """n structures of the training side, from each source in turn, at random within it; some more than once if there are fewer.

    InvalidRequest if the side is empty.
    """
    train = split_dataset(path).indices["train"]
    if not train.size:
        raise InvalidRequest(f"{path} has no structure on its training side to begin dynamics with")
    with open_dataset(path) as file:
        sources = file["provenance/source"].asstr()[:][train]
    rng = np.random.default_rng(seed)
    pools = {name: rng.permutation(train[sources == name]) for name in sorted(set(sources.tolist()))}
    names = list(pools)
    rows = [int(pools[names[k % len(names)]][(k // len(names)) % len(pools[names[k % len(names)]])]) for k in range(n)]
    parents = read_parents(path)
    found = {}
    for block in read_blocks(path, sorted(set(rows))):
        for k, structure in enumerate(block.make_structures()):
            row = int(block.indices[k])
            found[row] = Start(structure, block.texts["source"][k], parents[row])
    return [found[row] for row in rows]


def explore(student: BaseCalculator, starts: Sequence[Start], course: Course, *, seed: int) -> Explored:
    """Langevin dynamics of a student from every start, until something is unsound or it is done.

    A fault is `too_hot`, `too_close`, `not_finite` or, where the student raises, `student_failed`.
    """
    frames, last, faults = list[Atoms](), list[int](), Counter[str]()
    for k, start in enumerate(starts):
        own, fault = _run(student, start, course, seed + k)
        frames += own
        if fault is not None:
            faults[fault] += 1
            last += [len(frames) - 1] if own else []
    return Explored(frames, last, faults, len(starts) - faults.total())


def _run(student: BaseCalculator, start: Start, course: Course, seed: int) -> tuple[list[Atoms], str | None]:
    """The frames, and what was unsound in the end; then the last one before it is among them."""
    atoms = to_ase(start.structure)
    atoms.calc = student
    rng = np.random.default_rng(seed)
    thermalize_momenta(atoms, temperature_K=course.temperature, rng=rng)
    dynamics = Langevin(
        atoms, timestep=TIMESTEP * units.fs, temperature_K=course.temperature, friction=FRICTION / units.fs, fixcm=False, rng=rng
    )
    frames, sound = list[Atoms](), list[Atoms]()
    for step in range(1, course.steps + 1):
        if (fault := _advance(dynamics, atoms, course.temperature)) is not None:
            return frames + sound, fault
        sound = [_keep(atoms, start, step, course)]
        if step % course.every == 0:
            frames, sound = frames + sound, []
    return frames, None


def _advance(dynamics: Langevin, atoms: Atoms, temperature: float) -> str | None:
    """One step; what is unsound then."""
    try:
        dynamics.run(1)
        if not np.isfinite(atoms.get_forces()).all():
            return "not_finite"
    except Exception:  # whatever a student's package raises on what it has not learnt
        return "student_failed"
    return find_fault(atoms, temperature)


def _keep(atoms: Atoms, start: Start, step: int, course: Course) -> Atoms:
    frame = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    frame.calc = SinglePointCalculator(frame, energy=float(atoms.get_potential_energy()), forces=atoms.get_forces().copy())
    frame.info = {
        "system": start.structure.system,
        "source": start.source,
        "parent": start.parent,
        "started_from": start.structure.id,
        "step": step,
        "kelvin": course.temperature,
        **{name: atoms.info[name] for name in ("charge", "spin") if name in atoms.info},
    }
    return frame


def choose_frames(dataset: Path, explored: Explored, n: int, *, seed: int) -> tuple[list[Atoms], int]:
    """At most n frames for the teacher, in the order they came, and how many of all are new to the dataset.

    First the last ones before something went wrong, at most a third; then the farthest from what dataset and chosen ones have; the last
    third at random, so that errors on them are not those of outliers alone.
    """
    known = read_known(dataset)
    structures = [from_ase(frame, id=str(k), system=frame.info["system"]) for k, frame in enumerate(explored.frames)]
    rng = np.random.default_rng(seed)
    chosen = {int(k): "last" for k in rng.permutation(explored.last)[: n // 3]}
    farthest, is_new = choose_new(known, structures, n)
    chosen |= dict.fromkeys([k for k in farthest if k not in chosen][: max(n - n // 3 - len(chosen), 0)], "new")
    others = [k for k in range(len(structures)) if k not in chosen]
    chosen |= {int(k): RANDOM for k in rng.permutation(others)[: n - len(chosen)]}
    for k, why in chosen.items():
        explored.frames[k].info["why"] = why
    return [explored.frames[k] for k in sorted(chosen)], sum(is_new)


def measure_random(labelled: Path) -> float | None:
    """The student's mean absolute error of forces on the frames of a labelled round that were chosen at random, meV/Å."""
    errors = [
        np.abs(pair.forces[1] - pair.forces[0]).ravel()
        for block in read_blocks(labelled)
        for pair in find_pairs(block)
        if pair.info.get("why") == RANDOM
    ]
    return round(1000 * float(np.concatenate(errors).mean()), 3) if errors else None


def measure_held(student: BaseCalculator, dataset: Path) -> float | None:
    """The mean absolute error of a student's forces on the validation and test sides, meV/Å, of at most 100 structures.

    None if there are none that it can label.
    """
    sides = split_dataset(dataset).indices
    rows = np.sort(np.concatenate([sides["val"], sides["test"]]))
    spread = np.unique(np.linspace(0, len(rows) - 1, min(_MOST_HELD, len(rows))).astype(np.int64))
    errors: list[NDArray[np.float64]] = []
    for atoms in read_dataset(dataset, rows[spread]) if len(rows) else ():
        wanted = atoms.get_forces()
        atoms.calc = student
        try:
            errors.append(np.abs(atoms.get_forces() - wanted).ravel())
        except Exception:  # as in dynamics
            continue
    found = float(np.concatenate(errors).mean()) if errors else np.nan
    return round(1000 * found, 3) if np.isfinite(found) else None
