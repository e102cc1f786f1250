"""Sampling by the teacher: what it makes of a proposal before it is labelled. Relaxed a little, strained, displaced, or moved for a while.

Every step labels all structures that are still on their way at once, beside whatever else the engine has; those that have
converged wait, and one that comes apart is refused with its reason and harms no other. All randomness comes from the shard's
seed and the proposal's place in it, so that the same labels give the same frames.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from ase.data import atomic_masses
from numpy.typing import NDArray

from distillery.dataset.layout import Label
from distillery.schema.label import Reject
from distillery.schema.sample import MolecularDynamics, Rattle, Relax, Sample
from distillery.structures.checks import Fault, find_fault, find_input_fault
from distillery.structures.identity import derive_seed, structure_hash
from distillery.structures.strain import apply_strain, draw_strain, list_components
from distillery.structures.structure import Structure, Vectors
from labeller.dynamics import Langevin, Relaxation
from labeller.structure_queue import LabelAll, Outcome
from labeller.teachers.teacher import CONSERVATIVE, PhysicsTolerance
from labeller.thermal import displace_by_temperature
from labeller.work_of_forces import Point, find_work_fault

_FARTHEST_STEP = 1.0
"""Å that no atom may move in a step: a trajectory that does has exploded."""


@dataclass(frozen=True)
class Frame:
    """What is kept of a trajectory: the structure, its label where it has one already, and what had been done until then, for `origin`.

    before  the last point that was labelled on the way to it, where there is one and it has no label yet
    """

    structure: Structure
    label: Label | None
    done: dict[str, object]
    before: Point | None = None


@dataclass
class Trajectory:
    """A proposal on its way.

    structure      as it is now
    n_steps        steps downhill so far
    has_converged  its forces are as small as was wanted
    done           what else has been done to it, for `origin`
    frames         what is kept of it
    last           where it was labelled last
    rejected       why it went no further
    """

    proposal: Structure
    structure: Structure
    rng: np.random.Generator
    n_steps: int = 0
    has_converged: bool = False
    done: dict[str, object] = field(default_factory=dict)
    frames: list[Frame] = field(default_factory=list)
    last: Point | None = None
    rejected: Reject | None = None

    def refuse(self, reason: str, detail: str) -> None:
        """Let it go no further."""
        self.rejected = Reject(id=self.proposal.id, reason=reason, detail=detail, stage="label")

    def keep(self, label: Label | None = None) -> None:
        """Keep it as it is now, unless nothing has been done to it since it was kept: it had converged, or is no crystal to be strained."""
        if self.frames and self.frames[-1].structure is self.structure:
            return
        before = self.last if label is None else None
        self.frames.append(Frame(self.structure, label, {"relax_steps": self.n_steps, **self.done}, before))


@dataclass(frozen=True)
class Sampled:
    """Frames with their labels, or why there is none; the calls of the teacher for it, structures labelled, and its time, s."""

    structures: list[Structure]
    outcomes: list[Outcome]
    n_calls: int
    seconds: float


class Sampler:
    """Makes frames of proposals as `sample` says, all at once."""

    def __init__(self, label_all: LabelAll, sample: Sample, seed: int, tolerance: PhysicsTolerance = CONSERVATIVE) -> None:
        self._label_all, self._sample, self._seed, self._tolerance = label_all, sample, seed, tolerance
        self._n_calls, self._seconds = 0, 0.0

    def make_frames(self, proposals: Sequence[Structure]) -> Sampled:
        """The last `keep` frames of every proposal; a proposal that is refused on its way comes back as it was."""
        sample = self._sample
        trajectories = [Trajectory(p, p, np.random.default_rng(derive_seed(self._seed, p.id, 0))) for p in proposals]
        if sample.relax is not None and not sample.relax.after:
            self._relax(trajectories, sample.relax)
            self._keep_all(trajectories, sample.keeps_first)
        for trajectory in _active(trajectories):
            self._displace(trajectory, sample.strain, sample.rattle)
        if sample.relax is not None and sample.relax.after:
            self._keep_all(trajectories, sample.keeps_first)
            self._relax(trajectories, sample.relax)
        self._keep_all(trajectories, sample.md is None)
        if sample.md is not None:
            self._move(trajectories, sample.md)
        return self._label_frames(trajectories)

    def _keep_all(self, trajectories: Sequence[Trajectory], is_frame: bool) -> None:
        """Keep all as they are now, if that is a frame."""
        for trajectory in _active(trajectories) if is_frame else ():
            trajectory.keep()

    def _relax(self, trajectories: Sequence[Trajectory], relax: Relax) -> None:
        descents = {id(trajectory): Relaxation(trajectory.structure, with_cell=relax.cell) for trajectory in _active(trajectories)}
        for step in range(relax.steps):
            for trajectory, label in self._label([trajectory for trajectory in _active(trajectories) if not trajectory.has_converged]):
                if relax.every is not None and step % relax.every == 0:
                    trajectory.keep(label)
                descent = descents[id(trajectory)]
                forces = descent.find_forces(label)
                if float(np.linalg.norm(forces, axis=1).max()) < relax.until:
                    trajectory.has_converged = True
                    continue
                descent.advance(forces)
                trajectory.structure = descent.structure
                trajectory.n_steps += 1

    def _displace(self, trajectory: Trajectory, strain: float, rattle: Rattle | None) -> None:
        if strain > 0 and trajectory.structure.is_periodic:
            trajectory.structure = _strain(trajectory, strain)
        if rattle is not None:
            trajectory.structure = _rattle(trajectory, rattle)

    def _move(self, trajectories: Sequence[Trajectory], md: MolecularDynamics) -> None:
        movers = {id(trajectory): self._start(trajectory, md) for trajectory in _active(trajectories)}
        for step in range(1, md.steps + 1):
            for trajectory in _active(trajectories):
                before = trajectory.structure.positions
                trajectory.structure = replace(trajectory.structure, positions=movers[id(trajectory)].drift(before))
                self._refuse_exploded(trajectory, before)
            for trajectory, label in self._label(list(_active(trajectories))):
                movers[id(trajectory)].kick(label.forces.astype(np.float64))
                if step % md.every == 0:
                    trajectory.done["md"] = step
                    trajectory.keep(label)

    def _start(self, trajectory: Trajectory, md: MolecularDynamics) -> Langevin:
        temperature = float(trajectory.rng.uniform(*md.temperature))
        trajectory.done["temperature"] = round(temperature, 1)
        return Langevin(atomic_masses[trajectory.structure.numbers], temperature, md.timestep, trajectory.rng)

    def _refuse_exploded(self, trajectory: Trajectory, before: Vectors) -> None:
        farthest = float(np.linalg.norm(trajectory.structure.positions - before, axis=1).max())
        if not farthest <= _FARTHEST_STEP:
            trajectory.refuse("exploded", f"an atom moved {farthest:.2g} Å in one step of the dynamics, at most {_FARTHEST_STEP:g}")

    def _label(self, trajectories: Sequence[Trajectory]) -> Iterator[tuple[Trajectory, Label]]:
        """The labels of those whose structures are sound; the others are refused."""
        for trajectory in trajectories:
            if (fault := find_input_fault(trajectory.structure)) is not None:
                trajectory.refuse(fault.reason, f"while it was sampled: {fault.detail}")
        sound = [trajectory for trajectory in trajectories if trajectory.rejected is None]
        answer = self._call([trajectory.structure for trajectory in sound])
        for trajectory, outcome in zip(sound, answer, strict=True):
            if isinstance(outcome, Reject):
                trajectory.refuse(outcome.reason, outcome.detail)
                continue
            before, trajectory.last = trajectory.last, Point(trajectory.structure, outcome)
            if before is not None and (fault := find_work_fault(before, trajectory.last, self._tolerance)) is not None:
                trajectory.refuse(fault.reason, f"while it was sampled: {fault.detail}")
                continue
            yield trajectory, outcome

    def _call(self, structures: Sequence[Structure]) -> list[Outcome]:
        answer = self._label_all(structures)
        self._n_calls += len(structures)
        self._seconds += answer.seconds
        return answer.outcomes

    def _label_frames(self, trajectories: Sequence[Trajectory]) -> Sampled:
        """Name the frames, refuse those that are unsound, and label those that are not labelled yet."""
        frames = [frame for trajectory in trajectories if trajectory.rejected is None for frame in self._name_frames(trajectory)]
        faults = [find_fault(frame.structure, None, None) for frame in frames]
        missing = [frame.structure for frame, fault in zip(frames, faults, strict=True) if fault is None and frame.label is None]
        answers = iter(self._call(missing) if missing else [])
        outcomes: list[Outcome] = []
        for frame, fault in zip(frames, faults, strict=True):
            if fault is not None:
                outcomes.append(_refuse_frame(frame, fault))
            else:
                outcomes.append(self._check_way(frame, next(answers)) if frame.label is None else frame.label)
        refused = [(trajectory.proposal, trajectory.rejected) for trajectory in trajectories if trajectory.rejected is not None]
        structures = [frame.structure for frame in frames] + [proposal for proposal, _ in refused]
        return Sampled(structures, outcomes + [reject for _, reject in refused], self._n_calls, self._seconds)

    def _check_way(self, frame: Frame, outcome: Outcome) -> Outcome:
        """The label, unless it does not go with the one before it."""
        if isinstance(outcome, Reject) or frame.before is None:
            return outcome
        fault = find_work_fault(frame.before, Point(frame.structure, outcome), self._tolerance)
        return outcome if fault is None else _refuse_frame(frame, fault)

    def _name_frames(self, trajectory: Trajectory) -> list[Frame]:
        kept = trajectory.frames[-self._sample.keep :]
        told = {"parent": trajectory.proposal.id, "parent_hash": structure_hash(trajectory.proposal)}
        named = []
        for k, frame in enumerate(kept):
            id = trajectory.proposal.id if self._sample.keep == 1 else f"{trajectory.proposal.id}/{k}"
            origin = {**frame.structure.origin, "sample": {**told, **frame.done, "frame": k, "of": len(kept)}}
            named.append(replace(frame, structure=replace(frame.structure, id=id, origin=origin)))
        return named


def _refuse_frame(frame: Frame, fault: Fault) -> Reject:
    return Reject(id=frame.structure.id, reason=fault.reason, detail=f"after sampling: {fault.detail}", stage="label")


def _active(trajectories: Sequence[Trajectory]) -> Iterator[Trajectory]:
    return (trajectory for trajectory in trajectories if trajectory.rejected is None)


def _strain(trajectory: Trajectory, largest: float) -> Structure:
    """A random symmetric strain, of a slab in its plane only; the atoms follow."""
    structure = trajectory.structure
    strain = draw_strain(structure, largest, trajectory.rng)
    trajectory.done["strain"] = [round(component, 6) for component in list_components(strain)]
    return apply_strain(structure, strain)


def _rattle(trajectory: Trajectory, rattle: Rattle) -> Structure:
    structure = trajectory.structure
    if rattle.temperature is not None:
        temperature = float(trajectory.rng.uniform(*rattle.temperature))
        trajectory.done["temperature"] = round(temperature, 1)
        return replace(structure, positions=structure.positions + displace_by_temperature(structure, temperature, trajectory.rng))
    assert rattle.width is not None
    width = float(trajectory.rng.uniform(*rattle.width))
    trajectory.done["rattle"] = round(width, 4)
    step: NDArray[np.float64] = trajectory.rng.normal(scale=width, size=structure.positions.shape)
    return replace(structure, positions=structure.positions + step)
