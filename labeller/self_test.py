"""Self-test of a teacher's physics: on small structures of our own when it is loaded, on structures of every source in a run."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distillery.dataset.layout import Label
from distillery.schema.label import PhysicsCheck, Reject, TeacherOutline
from distillery.structures.identity import derive_seed
from distillery.structures.structure import Structure, from_ase
from labeller.known_matter import KnownMatter, choose_known_matter, judge_stiffness
from labeller.physics import judge_laws
from labeller.structure_queue import LabelAll
from labeller.teachers.teacher import PhysicsTolerance
from labeller.variants import Extent, make_variants

_RATTLE, _SHEAR = 0.08, 0.04
"""Å and largest strain: so that no force and no component of the stress is zero, and no two are alike."""
_EACH = 2
"""Molecules and crystals that are tried."""


def _displace(known: KnownMatter, seed: int) -> Structure:
    atoms, rng = known.atoms.copy(), np.random.default_rng(seed)
    if known.system == "crystal":
        shear = np.triu(rng.uniform(-_SHEAR, _SHEAR, (3, 3)))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + shear + np.triu(shear, 1).T), scale_atoms=True)
    atoms.positions += rng.normal(scale=_RATTLE, size=atoms.positions.shape)
    return from_ase(atoms, id=known.name, system=known.system)


Tested = tuple[Structure, Label, Extent]
"""A structure, its label, and by how many variants it is tried."""
_MAY_BE_UNABLE = {"teacher_failed", "teacher_crashed", "teacher_timeout", "out_of_memory"}


@dataclass(frozen=True)
class Trial:
    """What was tried, and the teacher's time that it took, s."""

    checks: tuple[PhysicsCheck, ...] = ()
    seconds: float = 0.0


def run_self_test(label_all: LabelAll, tolerance: PhysicsTolerance, teacher: TeacherOutline) -> tuple[PhysicsCheck, ...]:
    """The teacher's physics on our own structures of its elements; those that it can't label are told as not tried.

    Two molecules and two crystals are enough; of what is refused others are tried.
    """
    refused: list[PhysicsCheck] = []
    labelled: list[tuple[Structure, Label]] = []
    told: list[KnownMatter] = []
    for round_ in _list_rounds(teacher):
        done = Counter(one.system for one in told)
        wanted = [(one, structure) for one, structure in round_ if done[one.system] < _EACH]
        outcomes = label_all([structure for _, structure in wanted]).outcomes if wanted else []
        for (one, structure), outcome in zip(wanted, outcomes, strict=True):
            if isinstance(outcome, Reject):
                refused.append(_tell_refused(structure, outcome))
            else:
                labelled.append((structure, outcome))
                told.append(one)
    checks = try_physics(label_all, tolerance, [(*pair, "all") for pair in labelled]).checks
    return (*refused, *map(_name_structure, checks), *judge_stiffness(label_all, tolerance.stiffness, told))


def _name_structure(check: PhysicsCheck) -> PhysicsCheck:
    """With the name of what was tried, as a teacher of molecules alone that does not say so is found by crystals."""
    return check.model_copy(update={"detail": f"{check.detail} ({check.structure})"})


def _list_rounds(teacher: TeacherOutline) -> list[list[tuple[KnownMatter, Structure]]]:
    """Known matter and the same displaced, the same at every call: rounds of up to two molecules and two crystals.

    Later rounds are for what it refuses of earlier ones. There are none if it knows none of their elements.
    """
    kinds = choose_known_matter(teacher)
    rounds = [[one for kind in kinds for one in kind[k : k + _EACH]] for k in range(0, max(map(len, kinds)), _EACH)]
    return [[(one, _displace(one, seed)) for seed, one in enumerate(round_)] for round_ in rounds]


def _tell_refused(structure: Structure, reject: Reject) -> PhysicsCheck:
    """A teacher may know no crystals, or no molecules; one that answers with nonsense is another matter."""
    passed = None if reject.reason in _MAY_BE_UNABLE else False
    detail = f"{structure.id}: no label ({reject.reason}: {reject.detail})"
    return PhysicsCheck(law="repeat", structure=structure.id, value=None, wanted="a label", passed=passed, detail=detail)


def try_physics(label_all: LabelAll, tolerance: PhysicsTolerance, tested: Sequence[Tested]) -> Trial:
    """The teacher's physics on structures that it has labelled; all variants are handed to it at once."""
    families = [make_variants(structure, label, extent) for structure, label, extent in tested]
    answer = label_all([variant.structure for family in families for variant in family])
    outcomes, checks = list(answer.outcomes), list[PhysicsCheck]()
    for (structure, label, _), family in zip(tested, families, strict=True):
        own, outcomes = outcomes[: len(family)], outcomes[len(family) :]
        checks += judge_laws(structure, label, family, own, tolerance)
    return Trial(tuple(checks), answer.seconds)


def choose_tested(labelled: Sequence[tuple[Structure, Label]], n: int) -> list[Tested]:
    """Of the structures of a shard any, or where `n` is above 1 the largest, of several that with the largest force, and a small one
    that has what the largest has not.

    The small one, a charged one or one with a spin where there are such, then one with further elements, is tried by "some" variants, a
    dozen times its own label. The others are tried by "few": over the shards of a dataset all sizes and elements have their turn.
    """
    if not labelled or not n:
        return []
    by_size = sorted(labelled, key=lambda pair: (len(pair[0]), float(np.abs(pair[1].forces).max(initial=0.0)), pair[0].id))
    if n == 1:
        pick = np.random.default_rng(derive_seed(0, by_size[0][0].id, 0)).integers(len(by_size))
        return [(*by_size[pick], "few")]
    largest, smaller = by_size[-1], by_size[:-1] or by_size
    known, n_small = set(largest[0].numbers.tolist()), -(-len(by_size) // 2)

    def rank(k: int) -> tuple[bool, bool, int, int]:
        one = smaller[k][0]
        return one.is_plain, k >= n_small, -len(set(one.numbers.tolist()) - known), k

    small = smaller[min(range(len(smaller)), key=rank)]
    return [(*small, "some"), *((*pair, "few") for pair in by_size[1:][-1:])]
