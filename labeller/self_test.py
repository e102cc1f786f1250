"""Self-test of a teacher's physics: on small structures of our own when it is loaded, on structures of every source in a run."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule

from distillery.dataset.layout import Label
from distillery.schema.label import PhysicsCheck, Reject, TeacherOutline
from distillery.structures.identity import derive_seed
from distillery.structures.structure import Structure, System, from_ase
from labeller.physics import judge_laws
from labeller.pool import LabelAll
from labeller.teachers.teacher import PhysicsTolerance
from labeller.variants import Extent, make_variants

_RATTLE, _SHEAR = 0.08, 0.04
"""Å and largest strain: so that no force and no component of the stress is zero, and no two are alike."""
_EACH, _MOST = 2, 6
"""Molecules and crystals that are tried, and that there are."""


def make_self_test_structures(teacher: TeacherOutline) -> list[list[Structure]]:
    """Small displaced molecules and crystals that a teacher should know, the same at every call: rounds of up to two of each.

    Later rounds are for what it refuses of earlier ones. There are none if it knows none of their elements.
    """
    known = set(teacher.elements)
    kinds: list[tuple[System, list[Atoms]]] = [("molecule", [molecule(name) for name in ("H2O", "CH3OH", "NH3", "CH4", "N2", "H2")])]
    kinds += [("crystal", _list_crystals())] if teacher.abilities.periodic else []
    chosen = [(system, [atoms for atoms in list_ if known >= set(atoms.get_chemical_symbols())]) for system, list_ in kinds]
    rounds = [[(atoms, system) for system, list_ in chosen for atoms in list_[k : k + _EACH]] for k in range(0, _MOST, _EACH)]
    return [[_displace(atoms, system, k) for k, (atoms, system) in enumerate(round_)] for round_ in rounds if round_]


def _list_crystals() -> list[Atoms]:
    return [
        bulk("Si", cubic=False),
        bulk("SiC", "zincblende", a=4.36),
        bulk("NaCl", "rocksalt", a=5.64),
        bulk("Cu") * (2, 1, 1),
        bulk("Al") * (2, 1, 1),
        bulk("Fe") * (2, 1, 1),
    ]


def _displace(atoms: Atoms, system: System, seed: int) -> Structure:
    rng = np.random.default_rng(seed)
    if system == "crystal":
        shear = np.triu(rng.uniform(-_SHEAR, _SHEAR, (3, 3)))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + shear + np.triu(shear, 1).T), scale_atoms=True)
    atoms.positions += rng.normal(scale=_RATTLE, size=atoms.positions.shape)
    name = atoms.get_chemical_formula(empirical=system == "crystal")
    return from_ase(atoms, id=f"{system} {name}", system=system)


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
    for structures in make_self_test_structures(teacher):
        done = Counter(structure.system for structure, _ in labelled)
        wanted = [one for one in structures if done[one.system] < _EACH]
        outcomes = label_all(wanted).outcomes if wanted else []
        refused += [
            _tell_refused(structure, outcome) for structure, outcome in zip(wanted, outcomes, strict=True) if isinstance(outcome, Reject)
        ]
        labelled += [(structure, outcome) for structure, outcome in zip(wanted, outcomes, strict=True) if isinstance(outcome, Label)]
    return (*refused, *try_physics(label_all, tolerance, [(*pair, "all") for pair in labelled]).checks)


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
