"""The rounds of `distillery grow`: the student's dynamics, the teacher's labels of its frames, and how far the two are apart."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.exit_codes import GO, NO_GO, STOPPED
from cli.label import Request, label_files
from cli.terminal import under_way

if TYPE_CHECKING:
    from ase.calculators.calculator import BaseCalculator

    from distillery.derive.exploration import Course
    from distillery.schema.growth import Growth, GrowthRound


@dataclass
class Growing:
    """The folder of the rounds: frames, datasets of them, and rounds.json."""

    file: Path
    folder: Path
    asked: dict[str, Any]
    again: str

    def begin(self) -> None:
        """Make the folder, or find in it what was made of the same request; InvalidRequest if it is of another one."""
        from distillery.errors import InvalidRequest
        from distillery.weights.checksums import sha256_of

        self.rounds: list[GrowthRound] = []
        self._request = {name: str(value) for name, value in self.asked.items()} | {"sha256": sha256_of(self.file)}
        self.folder.mkdir(exist_ok=True)
        known = self._read()
        if known is None and any(not path.name.startswith(".") for path in self.folder.iterdir()):
            raise InvalidRequest(f"{self.folder}, where rounds go, holds something else; give --out another name, or move that away")
        if known is not None and known.request != self._request:
            others = ", ".join(name for name, value in self._request.items() if known.request.get(name) != value)
            raise InvalidRequest(
                f"{self.folder} holds rounds of another request ({others}); give --out another name, or remove that folder"
            )
        self.rounds = [] if known is None else known.rounds
        self._write()

    def _read(self) -> "Growth | None":
        from distillery.schema.growth import Growth

        path = self.folder / "rounds.json"
        return Growth.model_validate_json(path.read_bytes()) if path.is_file() else None

    def _write(self) -> None:
        from distillery.runtime.atomic_files import write_text_whole
        from distillery.schema.growth import Growth

        found = Growth(request=self._request, rounds=self.rounds)
        write_text_whole(self.folder / "rounds.json", json.dumps(found.model_dump(mode="json"), indent=2) + "\n")

    def make_round(self, k: int, show: Callable[[list["GrowthRound"]], None]) -> int:
        """Explore, label, compare; what is there of it already stays. The exit code of labelling."""
        from distillery.derive.exploration import measure_random
        from distillery.report.disagreement import measure_disagreement
        from distillery.report.files import read_report

        finished = self.folder / f"round{k}" / "dataset.h5"
        if len(self.rounds) >= k and self.rounds[k - 1].n_labelled:
            report = read_report(finished.parent)
            return GO if report is not None and report.verdict == "GO" else NO_GO
        frames = self.folder / f"round{k}.extxyz"
        if not frames.is_file() or len(self.rounds) < k:
            self.rounds = [*self.rounds[: k - 1], self._explore(k, frames)]
            self._write()
        teacher = read_teacher(self.file)
        request = Request((frames,), f"round{k}", teacher, 0, self.folder, self.again, parents="kept", prefix=f"round{k}_")
        code = label_files(request, dry_run=False)
        if code not in {GO, NO_GO}:
            return STOPPED if code is None else code
        found = measure_disagreement(finished)
        self.rounds[k - 1] = _note_errors(self.rounds[k - 1], found).model_copy(update={"random_forces": measure_random(finished)})
        self._write()
        show(self.rounds[:k])
        return code

    def _explore(self, k: int, frames: Path) -> "GrowthRound":
        """Dynamics of the student, and the frames that are worth a label, written to a file."""
        from distillery.derive.exploration import Course, measure_held

        now = self.file
        if k > 1:
            now = self.folder / f"before{k}.h5"
            self.merge(now)
        with under_way("the student's dynamics") as tell:
            tell(f"round {k}: preparing the student")
            student, name = make_student(self.asked, now)
            tell(f"round {k}: dynamics of {name}")
            every = max(self.asked["steps"] // 10, 1)
            held = measure_held(student, self.file)
            course = Course(self.asked["temperature"], self.asked["steps"], every)
            found = _choose_frames(student, name, now, course, self.asked, k, frames)
            return found.model_copy(update={"held_forces": held})

    def merge(self, target: Path) -> int:
        """Write the dataset with all rounds so far."""
        from distillery.derive.merge import merge_datasets

        paths = [self.folder / f"round{one.round}" / "dataset.h5" for one in self.rounds if one.n_labelled]
        with under_way(f"writing {target}"):
            return merge_datasets([self.file, *paths], target, overwrite=True).n_structures


def read_teacher(file: Path) -> str:
    from distillery.dataset.derivation import read_attributes
    from distillery.errors import InvalidRequest

    found = str(read_attributes(file).get("teacher_model", ""))
    if found in {"", "not recorded"}:
        raise InvalidRequest(f"{file} does not say who labelled it, and growing needs the same teacher")
    return found


def make_student(asked: dict[str, Any], now: Path) -> "tuple[BaseCalculator, str]":
    """The calculator that runs the dynamics, and its name."""
    if not asked["student"]:
        return _train_student(asked, now), "a small NequIP"
    from distillery.schema.teacher_name import ASE_PREFIX, parse_calculator
    from labeller.calculators.factory import make_calculator

    given = asked["student"].replace("{dataset}", str(now.resolve()))
    try:
        name = parse_calculator(given if given.startswith(ASE_PREFIX) else ASE_PREFIX + given)
    except ValueError as error:
        from distillery.errors import InvalidRequest

        raise InvalidRequest(f"--student: {error}, with or without `ase:` before it") from error
    return make_calculator(name), asked["student"]


def _train_student(asked: dict[str, Any], now: Path) -> "BaseCalculator":
    from distillery.assess.dynamics import StudentCalculator
    from distillery.assess.graphs import read_graphs
    from distillery.assess.student import train_student
    from distillery.dataset.splits import split_dataset

    graphs = read_graphs(now, split_dataset(now).indices["train"])
    return StudentCalculator(train_student(graphs, seed=asked["seed"], steps=asked["budget"]))


def _choose_frames(
    student: "BaseCalculator", name: str, now: Path, course: "Course", asked: dict[str, Any], k: int, target: Path
) -> "GrowthRound":
    """Explore from as many starts as frames are wanted, half of them and at least four; write the chosen frames."""
    from ase.io import write

    from distillery.dataset.blocks import count_structures
    from distillery.derive.exploration import choose_frames, draw_starts, explore
    from distillery.errors import InvalidRequest
    from distillery.runtime.atomic_files import write_whole
    from distillery.schema.growth import GrowthRound

    n_starts = max(asked["n"] // 2, 4)
    starts = draw_starts(now, n_starts, seed=asked["seed"] + 1000 * k)
    explored = explore(student, starts, course, seed=asked["seed"] + 1000 * k)
    if not explored.frames:
        raise InvalidRequest(
            f"no trajectory of {name} was sound for a single step ({dict(explored.faults)}): is it a calculator of these elements?"
        )
    chosen, n_new = choose_frames(now, explored, asked["n"], seed=asked["seed"] + k)
    with write_whole(target) as temporary:
        write(temporary, chosen, format="extxyz")
    return GrowthRound(
        round=k,
        student=name,
        n_structures=count_structures(now),
        n_trajectories=n_starts,
        n_sound=explored.n_whole,
        faults=dict(explored.faults),
        n_candidates=len(explored.frames),
        n_new=n_new,
        n_labelled=0,
        sources={},
    )


def _note_errors(own: "GrowthRound", found: Any) -> "GrowthRound":
    from distillery.errors import InvalidRequest
    from distillery.schema.growth import RoundErrors

    if found is None:
        raise InvalidRequest(f"the teacher could label no frame of round {own.round}: see its report")
    errors = {
        name: RoundErrors(n_frames=one.n_structures, forces=one.forces, forces_size=one.forces_size, energy=one.energy)
        for name, one in found.sources.items()
    }
    return own.model_copy(update={"sources": errors, "n_labelled": sum(one.n_frames for one in errors.values())})
