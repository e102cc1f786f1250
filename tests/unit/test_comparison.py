"""A part made again against what a file holds of it: what must be the same bits, what may be a little off, what is only told."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from distillery.dataset.layout import ATOMIC_ENERGIES, Arrays, Label, list_optional, select_structures, to_arrays
from distillery.dataset.parts import Part, digest_arrays
from distillery.dataset.provenance import LeftOut, MergedPart
from distillery.dataset.sections import Section
from distillery.planning.made_parts import find_proposals
from distillery.planning.plan import PartFacts, PlannedPart
from distillery.schema.label import Receipt, Reject, ShardRecord, TeacherCard
from distillery.schema.sample import MolecularDynamics, Relax, Sample
from distillery.structures.identity import digest_structures, structure_hash
from distillery.structures.structure import Structure
from distillery.verify.comparison import (
    FRAME_DISTANCE,
    FRAME_TOLERANCE,
    LABEL_TOLERANCE,
    TIE_TOLERANCE,
    Tolerance,
    compare_part,
    compare_versions,
)
from distillery.verify.file_checks import Check
from tests.fake_teacher import pair_label
from tests.labelling import mixed, record

PART = "full-a-00000"
STRUCTURES = mixed(PART, 6)
Change = Callable[[Label], Label]


@dataclass(frozen=True)
class Made:
    """A part as it was made: what is in it, and what its receipt says beside that."""

    structures: Sequence[Structure] = tuple(STRUCTURES)
    relabel: Callable[[Structure, Label], Label] = lambda structure, label: label
    teacher: str = "fake"
    rejected: tuple[Reject, ...] = ()
    record: dict[str, Any] | None = None

    def make(self) -> Part:
        labels = [self.relabel(s, pair_label(s)) for s in self.structures]
        hashes = [structure_hash(s) for s in self.structures]
        wanted = ("atomic_energies",) if labels and labels[0].atomic_energies is not None else ()
        arrays = to_arrays(self.structures, labels, hashes, source="a", service="rdkit", shard=PART, wanted=wanted)
        card = TeacherCard(name=self.teacher, version="1", weights_sha256="f" * 64, device="cpu", elements=("H", "C", "O", "Si"))
        receipt = Receipt(
            dataset="d",
            part=PART,
            record=ShardRecord(**record(**(self.record or {}))),
            teacher=card,
            n_structures=len(labels),
            n_atoms=sum(map(len, self.structures)),
            rejected=self.rejected,
            label_seconds=1.0,
            optional_columns=list_optional(arrays),
            structures_sha256=digest_structures([s.id for s in self.structures], hashes),
            content_sha256=digest_arrays(arrays),
            created="2026-01-01T00:00:00Z",
        )
        return Part(receipt, arrays, [])


def compare(
    made: Made,
    again: Made,
    left_out: Sequence[int] = (),
    fresh: Sequence[int] = range(6),
    hurt: Callable[[Arrays], None] = lambda arrays: None,
) -> Check:
    """The check of `again` against a file that has `made` without the rows `left_out`; `hurt` changes what was made again."""
    part, new = made.make(), again.make()
    gone = tuple(
        LeftOut(row=row, id=part.arrays["provenance/id"][row], structure_hash=part.arrays["provenance/structure_hash"][row])
        for row in left_out
    )
    keep = np.ones(len(made.structures), bool)
    keep[list(left_out)] = False
    arrays = select_structures(part.arrays, keep)
    section = Section(MergedPart(receipt=part.receipt, left_out=gone, content_sha256=digest_arrays(arrays)), (0, int(keep.sum())), (0, 0))
    ids, hashes = (tuple(part.arrays[f"provenance/{name}"]) for name in ("id", "structure_hash"))
    facts = PartFacts(ids, hashes, proposals=find_proposals(part.arrays))
    hurt(new.arrays)
    return compare_part(section, PlannedPart("a", ids, 0, fresh), facts, arrays, new)


def test_the_same_again_passes_and_says_what_became_of_every_structure() -> None:
    curated = Reject(id="c", reason="bare_carbon", detail="", stage="curation")
    failed = Reject(id="f", reason="teacher_failed", detail="", stage="label")
    made = Made(rejected=(failed,), record={"rejected": (curated, curated.model_copy(update={"id": "e"}))})
    found = compare(made, made, left_out=(1, 4, 5), fresh=(0, 2, 3, 4, 5))
    assert found == Check(
        PART,
        True,
        "3 structures bit by bit, 1 duplicate left out as before, 2 surplus left out as before, 2 rejected for bare_carbon as before, "
        "1 rejected for teacher_failed as before; labels at most 0 eV/atom, 0 eV/Å, 0 eV/Å³ apart",
    )


def test_nothing_left_of_a_part_has_no_labels_to_compare() -> None:
    assert compare(Made(), Made(), left_out=range(6)).figure == "0 structures bit by bit, 6 surplus left out as before; labels none"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"generated": 9}, "generated: 9, the receipt says 10"),
        ({"service_rejected": {"no_conformer": 2}}, "rejected by the service: {'no_conformer': 2}, the receipt says none"),
        (
            {"rejected": (Reject(id="c", reason="odd", detail="", stage="curation"),)},
            "rejected by curation: {'c': 'odd'}, the receipt says none",
        ),
    ],
)
def test_another_count_is_found_and_both_are_told(change: dict[str, Any], says: str) -> None:
    found = compare(Made(), Made(record=change))
    assert (found.passed, found.faults) == (False, (says,))
    other = compare(Made(record=change), Made())
    assert other.passed is False


def test_other_refusals_of_the_labeller_are_found_by_id_and_reason() -> None:
    failed = Reject(id="f", reason="teacher_failed", detail="some words", stage="label")
    said_otherwise = failed.model_copy(update={"detail": "other words"})
    assert compare(Made(rejected=(failed,)), Made(rejected=(said_otherwise,))).passed is True
    found = compare(Made(rejected=(failed,)), Made(rejected=(failed.model_copy(update={"reason": "no_label"}),)))
    assert found.faults == ("rejected by the labeller: {'f': 'no_label'}, the receipt says {'f': 'teacher_failed'}",)


def test_other_ids_and_other_structures_are_found() -> None:
    found = compare(Made(), Made(STRUCTURES[:5]))
    assert (found.passed, found.faults) == (False, ("other ids: 5 structures, 6 in the file",))
    swapped = [*STRUCTURES[:2], replace(STRUCTURES[4], id=STRUCTURES[2].id), *STRUCTURES[3:]]
    assert compare(Made(), Made(swapped)).faults == (f"1 of 6 structures differ, the first is {PART}/0002",)


def shift(name: str, row: Any, by: float) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        arrays[name] = arrays[name].copy()
        arrays[name][row] += by

    return change


def put(name: str, row: int, value: object) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        arrays[name] = arrays[name].copy()
        arrays[name][row] = value

    return change


@pytest.mark.parametrize(
    ("hurt", "says"),
    [
        (shift("structures/positions", (3, 1), 2.5e-9), "structures/positions differs by at most 2.5e-09 Å"),
        (shift("structures/cells", (2, 0, 0), -2.5e-9), "structures/cells differs by at most 2.5e-09 Å"),
        (put("structures/atomic_numbers", 0, 9), "structures/atomic_numbers differs"),
        (put("structures/pbc", 0, True), "structures/pbc differs"),
        (put("labels/stress_mask", 0, True), "labels/stress_mask differs"),
        (put("provenance/system", 0, "cluster"), "provenance/system differs"),
        (put("provenance/origin", 0, '{"name": "another"}'), "provenance/origin differs"),
    ],
    ids=lambda value: value.split()[0] if isinstance(value, str) else "",
)
def test_a_structure_that_is_another_in_one_bit_is_found(hurt: Callable[[Arrays], None], says: str) -> None:
    found = compare(Made(), Made(), hurt=hurt)
    assert (found.passed, found.faults) == (False, (says,))


def test_minus_zero_is_another_number() -> None:
    found = compare(Made(), Made(), hurt=put("structures/cells", 0, np.where(np.eye(3) == 1, -0.0, 0.0)))
    assert found.faults == ("structures/cells differs by at most 0.0e+00 Å",)


def test_charges_that_only_one_of_both_has_are_named() -> None:
    charged = [replace(STRUCTURES[0], charge=1), *STRUCTURES[1:]]
    hashes = Made().make().arrays["provenance/structure_hash"]

    def forge(arrays: Arrays) -> None:
        arrays["provenance/structure_hash"] = hashes

    for made, again in ((Made(), Made(charged)), (Made(charged), Made())):
        found = compare(
            made, again, hurt=forge if made.structures is not charged else put("provenance/structure_hash", 0, structure_hash(charged[0]))
        )
        assert found.passed is False
        assert found.faults[0] == "structures/charges is there once"


def test_where_left_out_rows_lie_other_numbers_are_no_concern_of_the_file() -> None:
    assert compare(Made(), Made(), left_out=(0,), hurt=put("structures/pbc", 0, True)).passed is True


# labels


def off(energy: float = 0.0, forces: float = 0.0, stress: float = 0.0) -> Callable[[Structure, Label], Label]:
    """Labels that are off by this, energies an atom."""

    def change(structure: Structure, label: Label) -> Label:
        moved = label.forces.astype(np.float64)
        moved[-1, 1] -= forces
        other = None if label.stress is None else label.stress + stress * np.eye(6)[3]
        return replace(label, energy=label.energy + energy * len(structure), forces=moved.astype(np.float32), stress=other)

    return change


def only(row: int, change: Callable[[Structure, Label], Label]) -> Callable[[Structure, Label], Label]:
    return lambda structure, label: change(structure, label) if structure.id.endswith(f"/{row:04d}") else label


UNITS = {"energy": "eV/atom", "forces": "eV/Å", "stress": "eV/Å³"}


@pytest.mark.parametrize("what", UNITS)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_label_may_be_off_by_its_tolerance_and_no_more(what: str, sign: int) -> None:
    limit = getattr(LABEL_TOLERANCE, what)
    near = compare(Made(), Made(relabel=only(5, off(**{what: 0.9 * sign * limit}))))
    assert near.passed is True
    apart = dict.fromkeys(UNITS, "0") | {what: f"{0.9 * limit:.0e}"}
    assert near.figure.endswith(f"labels at most {', '.join(f'{value} {UNITS[key]}' for key, value in apart.items())} apart")
    far = compare(Made(), Made(relabel=only(5, off(**{what: 1.1 * sign * limit}))))
    assert far.passed is False
    assert far.faults == (f"{what} of {PART}/0005 is {1.1 * limit:.1e} {UNITS[what]} off, at most {limit:.0e}",)


def test_what_is_not_a_number_is_far_off() -> None:
    found = compare(Made(), Made(relabel=only(0, off(energy=np.nan))))
    assert (found.passed, len(found.faults)) == (False, 1)


def share_out(by: float = 0.0) -> Callable[[Structure, Label], Label]:
    """The energy shared out among the atoms, another share `by` for the first of one structure."""

    def change(structure: Structure, label: Label) -> Label:
        shares = np.full(len(structure), label.energy / len(structure))
        shares[0] += by if structure.id.endswith("/0003") else 0.0
        return replace(label, atomic_energies=shares)

    return change


def test_energies_of_the_atoms_count_as_energies_where_both_have_them() -> None:
    plain = Made(relabel=share_out())
    assert ATOMIC_ENERGIES in plain.make().arrays
    for by, passed in ((0.9, True), (1.1, False), (-1.1, False)):
        found = compare(plain, Made(relabel=share_out(by * LABEL_TOLERANCE.energy)))
        assert found.passed is passed
        assert found.faults == (() if passed else (f"energy of {PART}/0003 is 1.1e-05 eV/atom off, at most 1e-05",))
    assert compare(plain, Made()).passed is compare(Made(), plain).passed is True


@pytest.mark.parametrize(("teacher", "origin", "passed"), [("orb-v2", {}, True), ("orb-v2", {"perturb": {}}, False), ("7net-0", {}, False)])
def test_orbs_labels_may_be_off_more_where_neighbours_are_equally_near(teacher: str, origin: dict[str, Any], passed: bool) -> None:
    structures = [replace(s, origin=origin) for s in STRUCTURES]
    for what in UNITS:
        by = 0.9 * getattr(TIE_TOLERANCE, what)
        assert compare(Made(structures, teacher=teacher), Made(structures, off(**{what: by}), teacher=teacher)).passed is passed
        beyond = 1.1 * getattr(TIE_TOLERANCE, what)
        assert compare(Made(structures, teacher=teacher), Made(structures, off(**{what: beyond}), teacher=teacher)).passed is False


# another machine, other versions


@pytest.mark.parametrize("what", ["processor", "libc"])
def test_other_structures_of_another_machine_are_a_note(what: str) -> None:
    made, again = (Made(record={"service_versions": {what: own, "numpy": "2"}}) for own in ("of then", "of now"))
    found = compare(made, again, hurt=shift("structures/positions", (3, 1), 2.5e-9))
    assert found.passed is None
    assert found.figure == "other structures, made on another kind of processor (of then made the file, of now is here)"
    assert found.faults == ("structures/positions differs by at most 2.5e-09 Å",)
    same = compare(made, made, hurt=shift("structures/positions", (3, 1), 2.5e-9))
    assert same.passed is False
    unknown = compare(Made(), again, hurt=shift("structures/positions", (3, 1), 2.5e-9))
    assert unknown.passed is False, "a file that does not say where it was made gets no such excuse"


def test_versions_that_differ_are_told_with_both_and_what_to_do() -> None:
    old, new = Made().make().receipt, Made(record={"service_version": "1.1", "service_versions": {"numpy": "2"}}).make().receipt
    assert compare_versions([(old, old)]) == Check(
        "versions", True, "services, libraries, teacher and weights are those that made the file"
    )
    found = compare_versions([(old, old), (old, new), (old, old)])
    assert found.passed is None
    assert "install the versions that `distillery recipe` names" in found.figure
    assert found.faults == (
        "service rdkit is 1.1 here, 1.0 made the file",
        "service rdkit: numpy is 2 here, none made the file",
        "service rdkit: rdkit is none here, 2025.9 made the file",
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": "2"}, "teacher is 2 here, 1 made the file"),
        ({"weights_sha256": "e" * 64}, f"the teacher's weights is {'e' * 64} here, {'f' * 64} made the file"),
        ({"device": "cuda"}, "the teacher's device is cuda here, cpu made the file"),
    ],
)
def test_another_teacher_is_told(change: dict[str, str], says: str) -> None:
    old = Made().make().receipt
    new = old.model_copy(update={"teacher": old.teacher.model_copy(update=change)})
    assert compare_versions([(old, new)]).faults == (says,)
    assert compare_versions([(old, old.model_copy(update={"contract": "9"}))]).faults == (
        f"contract is 9 here, {old.contract} made the file",
    )


# frames that a teacher made of proposals

RELAXED = {"sample": Sample(relax=Relax(steps=3))}
MOVED = {"sample": Sample(md=MolecularDynamics(steps=20, every=20))}


def of_proposals(
    parents: Sequence[str], structures: Sequence[Structure] = STRUCTURES, frames: Sequence[int] | None = None
) -> list[Structure]:
    frames = frames or [0] * len(parents)
    return [
        replace(s, origin={"sample": {"parent_hash": parent, "frame": frame}})
        for s, parent, frame in zip(structures, parents, frames, strict=True)
    ]


FRAMES = of_proposals("abcdef")


def moved_by(by: float, row: int = 4) -> list[Structure]:
    step = np.zeros_like(STRUCTURES[row].positions)
    step[0, 2] = -by
    return [replace(s, positions=s.positions + step) if k == row else s for k, s in enumerate(FRAMES)]


def test_frames_of_a_short_relaxation_are_the_same_to_a_tolerance() -> None:
    made = Made(FRAMES, record=RELAXED)
    same = compare(made, made)
    assert same.passed is True
    assert same.figure == "6 frames of the same proposals, at most 0 Å apart; labels at most 0 eV/atom, 0 eV/Å, 0 eV/Å³ apart"
    still = {s.id: pair_label(s) for s in FRAMES}
    near = compare(made, Made(moved_by(0.9 * FRAME_DISTANCE), lambda s, label: still[s.id], record=RELAXED))
    assert near.passed is True
    assert "at most 9e-04 Å apart" in near.figure
    far = compare(made, Made(moved_by(1.1 * FRAME_DISTANCE), lambda s, label: still[s.id], record=RELAXED))
    assert (far.passed, far.faults) == (False, ("frames are up to 1.1e-03 Å off, at most 0.001",))
    wide = compare(made, made, hurt=shift("structures/cells", (2, 1, 1), 1.1 * FRAME_DISTANCE))
    assert (wide.passed, wide.faults) == (False, ("frames are up to 1.1e-03 Å off, at most 0.001",))


@pytest.mark.parametrize("what", UNITS)
def test_labels_of_frames_have_a_tolerance_of_their_own(what: str) -> None:
    made, limit = Made(FRAMES, record=RELAXED), getattr(FRAME_TOLERANCE, what)
    assert compare(made, Made(FRAMES, only(5, off(**{what: 0.9 * limit})), record=RELAXED)).passed is True
    far = compare(made, Made(FRAMES, only(5, off(**{what: 1.1 * limit})), record=RELAXED))
    assert far.faults == (f"{what} of {PART}/0005 is {1.1 * limit:.1e} {UNITS[what]} off, at most {limit:.0e}",)


def test_frames_of_other_proposals_and_another_count_are_found() -> None:
    made = Made(FRAMES, record=RELAXED)
    other = compare(made, Made(of_proposals("abcdeX"), record=RELAXED))
    assert (other.passed, other.faults) == (False, ("2 frames are of other proposals",))
    later = compare(made, Made(of_proposals("abcdef", frames=[0, 0, 0, 0, 0, 1]), record=RELAXED))
    assert (later.passed, later.faults) == (False, ("2 frames are of other proposals",))
    fewer = compare(made, Made(FRAMES, record=RELAXED | {"generated": 9}))
    assert (fewer.passed, fewer.faults) == (False, ("generated: 9, the receipt says 10",))


def test_of_frames_those_that_were_left_out_are_not_compared() -> None:
    made = Made(FRAMES, record=RELAXED)
    found = compare(made, Made(moved_by(1.0), record=RELAXED), left_out=(4,))
    assert found.passed is True
    assert found.figure.startswith("5 frames of the same proposals")


def test_of_dynamics_the_proposals_alone_must_come_out_again() -> None:
    """Another trajectory may keep other frames, or come to none."""
    frames = [0, 1, 0, 1, 0, 1]
    made = Made(of_proposals("aabbcc", frames=frames), record=MOVED)
    again = Made(of_proposals("abbccc", moved_by(1.0), frames=frames), record=MOVED)
    assert compare(made, again) == Check(PART, True, "3 proposals to the hash; frames of dynamics are not compared")
    other = compare(made, Made(of_proposals("aabbcX", frames=frames), record=MOVED))
    assert (other.passed, other.faults) == (False, ("1 proposals are others",))
    fewer = compare(made, Made(again.structures, record=MOVED | {"generated": 9}))
    assert fewer.faults == ("generated: 9, the receipt says 10",)


def test_the_tolerances_are_those_of_the_page() -> None:
    """docs/reproduce.md has the measurements."""
    assert Tolerance(energy=1e-5, forces=1e-4, stress=1e-6) == LABEL_TOLERANCE
    assert Tolerance(energy=1e-3, forces=5e-2, stress=1e-3) == TIE_TOLERANCE
    assert Tolerance(energy=1e-4, forces=1e-2, stress=1e-4) == FRAME_TOLERANCE
    assert FRAME_DISTANCE == 1e-3
