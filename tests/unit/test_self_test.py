"""On which structures of a shard the teacher's physics is tried."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from distillery.dataset.layout import Label
from distillery.schema.label import Abilities, TeacherOutline
from distillery.structures.structure import Structure, numbers_of
from labeller.self_test import choose_tested, run_self_test
from labeller.structure_queue import Labelled
from labeller.teachers.teacher import CONSERVATIVE
from labeller.variants import make_variants
from tests.fake_teacher import UNREAL, pair_label
from tests.labelling import silicon


def label_all(structures: list[Structure]) -> list[tuple[Structure, Label]]:
    return [(structure, pair_label(structure)) for structure in structures]


def row(id: str, symbols: list[str], charge: int = 0) -> Structure:
    return Structure(id, numbers_of(symbols), 1.2 * np.arange(3.0 * len(symbols)).reshape(-1, 3), system="cluster", charge=charge)


OUTLINE = TeacherOutline(elements=("H", "C", "O", "Si"))
SHARD = [row("a/0", ["C"] * 4), row("a/1", ["C"] * 9), row("a/2", ["C", "C", "P", "C", "C"]), row("a/3", ["C"] * 6), row("a/4", ["P"] * 7)]


def test_the_largest_is_tried_and_a_small_one_with_other_elements() -> None:
    """Labels that are wrong for large structures alone, or of one element, are found too."""
    chosen = [(structure.id, extent) for structure, _, extent in choose_tested(label_all(SHARD), 2)]
    assert chosen == [("a/2", "some"), ("a/1", "few")]
    alike = [row(f"a/{k}", ["C"] * (9 - k)) for k in range(5)]
    assert [s.id for s, _, _ in choose_tested(label_all(alike), 2)] == ["a/4", "a/0"]


def test_of_the_largest_that_with_the_largest_force_is_tried() -> None:
    """Forces that are cut off where they are large are of another slope there alone."""
    steep = replace(pair_label(SHARD[1]), forces=np.full((9, 3), 12.0, dtype=np.float32))
    shard = [*label_all(SHARD), (SHARD[1].renamed("a/00"), steep), (SHARD[1].renamed("a/6"), pair_label(SHARD[1]))]
    assert [structure.id for structure, _, _ in choose_tested(shard, 2)] == ["a/2", "a/00"]


def test_an_ion_is_tried_where_there_is_one() -> None:
    shard = [*SHARD, replace(SHARD[4], id="a/5", charge=1)]
    assert [(s.id, extent) for s, _, extent in choose_tested(label_all(shard), 2)] == [("a/5", "some"), ("a/1", "few")]


def test_of_a_later_shard_any_is_tried_the_same_each_time() -> None:
    shards = [[structure.renamed(f"{k}/{structure.id}") for structure in SHARD] for k in range(60)]
    chosen = [choose_tested(label_all(shard), 1) for shard in shards]
    assert [one[0][0].id for one in chosen] == [choose_tested(label_all(shard), 1)[0][0].id for shard in shards]
    assert {one[0][2] for one in chosen} == {"few"}
    assert len(Counter(one[0][0].id.split("/", 1)[1] for one in chosen)) == len(SHARD)


def test_of_few_structures_or_none_no_more_are_tried() -> None:
    assert choose_tested([], 2) == []
    assert choose_tested(label_all(SHARD), 0) == []
    assert [(s.id, extent) for s, _, extent in choose_tested(label_all(SHARD[:1]), 2)] == [("a/0", "some")]


def test_few_variants_are_half_as_many_atoms() -> None:
    """So that one may be twice as large as those that are tried by some."""
    crystal = silicon("s", seed=3)
    few, some = (sum(len(v.structure) for v in make_variants(crystal, pair_label(crystal), extent)) for extent in ("few", "some"))
    assert few <= some / 2


def test_what_is_wrong_of_crystals_alone_names_them() -> None:
    """So that whoever has a teacher of molecules alone sees that it was taken for more."""

    def label(structures: Sequence[Structure]) -> Labelled:
        labels = [pair_label(one) for one in structures]
        return Labelled([replace(own, energy=1.3 * own.energy) if own.stress is not None else own for own in labels], 0.0)

    broken = [check for check in run_self_test(label, UNREAL, OUTLINE) if check.passed is False]
    assert broken
    assert {check.detail.rpartition(" (")[2] for check in broken} <= {"crystal Si)", "crystal CSi)"}


def test_a_teacher_of_molecules_alone_is_tried_on_no_crystal() -> None:
    outline = OUTLINE.model_copy(update={"abilities": Abilities(periodic=False)})
    checks = run_self_test(lambda structures: Labelled([pair_label(one) for one in structures], 0.0), CONSERVATIVE, outline)
    assert {check.structure for check in checks} == {"molecule H2O", "molecule CH4O"}
    assert [check.law for check in checks if check.passed is False] == ["stiffness"]
