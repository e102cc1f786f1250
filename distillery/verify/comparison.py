"""Comparison of a part made again with what a dataset.h5 holds of it: structures bit by bit, labels within a tolerance."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillery.dataset.layout import ATOMIC_ENERGIES, Arrays, select_structures
from distillery.dataset.parts import Part
from distillery.dataset.provenance import find_versions
from distillery.dataset.sections import Section
from distillery.planning.made_parts import find_proposals
from distillery.planning.plan import PartFacts, PlannedPart
from distillery.schema.label import Receipt, Reject
from distillery.verify.file_checks import FAULTS_SHOWN, Check, conclude


@dataclass(frozen=True)
class Tolerance:
    """How far two labels of one structure may lie apart: energy in eV/atom, forces in eV/Å, stress in eV/Å³."""

    energy: float
    forces: float
    stress: float


LABEL_TOLERANCE = Tolerance(energy=1e-5, forces=1e-4, stress=1e-6)
"""Structures are compared bit by bit, labels are not: they move in the last digits of float32 with the batch a structure is in.

The forces by about 2e-6 eV/Å (decision 2 of the architecture; docs/reproduce.md has the figures of energies and stresses).
"""
TIE_TOLERANCE = Tolerance(energy=1e-3, forces=5e-2, stress=1e-3)
"""Of structures at their ideal places under orb, whose 20 neighbours are cut at random among equally near ones: measured 0.03 eV/Å."""
_TIED_TEACHERS = "orb-"
FRAME_TOLERANCE = Tolerance(energy=1e-4, forces=1e-2, stress=1e-4)
"""Of what a teacher made of a proposal in a short relaxation: every step adds the last digits of the one before."""
FRAME_DISTANCE = 1e-3
"""Å that an atom of such a frame, or a cell vector, may be off."""
_MACHINE = frozenset({"processor", "libc"})
"""Versions of a service (`runtime.versions.name_machine`) that decide last bits and that nobody can install."""
_EXACT = (
    "structures/atomic_numbers",
    "structures/atomic_numbers_splits",
    "structures/positions",
    "structures/cells",
    "structures/pbc",
    "structures/charges",
    "structures/multiplicities",
    "labels/stress_mask",
    "provenance/system",
    "provenance/origin",
    "provenance/structure_hash",
)


def compare_part(section: Section, planned: PlannedPart, facts: PartFacts, arrays: Arrays, again: Part) -> Check:
    """A part's rows in the file, and what the file says of all its structures, against the part made again.

    Where a teacher made frames of proposals, those must be the same proposals, to the hash; frames of short relaxations must agree to
    a tolerance, those of dynamics come out again in distribution only and are not compared.

    Structures that were left out have no rows: of them id and structure hash are compared; of those that were rejected,
    id and reason.
    """
    old, new = section.part.receipt, again.receipt
    if old.record.sample is not None:
        return _compare_sampled(section, facts, arrays, again)
    faults = [*_find_other_record(old, new), *_find_other_structures(facts, again)]
    if faults:
        return _conclude_others(section.name, faults, old, new)
    keep = np.ones(new.n_structures, bool)
    keep[[one.row for one in section.part.left_out]] = False
    kept = select_structures(again.arrays, keep)
    names = [name for name in _EXACT if name in arrays or name in kept]
    if odd := [name for name in names if (name in arrays) != (name in kept)]:
        return _conclude_others(section.name, [f"{name} is there once" for name in odd], old, new)
    faults = [f"{name} differs" + _where(arrays[name], kept[name]) for name in names if not _is_same(arrays[name], kept[name])]
    if faults:
        return _conclude_others(section.name, faults, old, new)
    text, faults = _compare_labels(arrays, kept, old.teacher.name)
    return conclude(section.name, f"{int(keep.sum())} structures bit by bit{_account(section, planned)}; labels {text}", faults)


def _compare_sampled(section: Section, facts: PartFacts, arrays: Arrays, again: Part) -> Check:
    """Proposals by their hashes and frames, then the frames themselves if they are to come out again."""
    old, new, sample = section.part.receipt, again.receipt, section.part.receipt.record.sample
    found = find_proposals(again.arrays)
    assert sample is not None
    faults = [f"generated: {new.record.generated}, the receipt says {old.record.generated}"] * (
        new.record.generated != old.record.generated
    )
    if not sample.is_reproducible:
        parents = [{name.rpartition("/")[0] for name in names} for names in (found, facts.proposals)]
        n_other = len(parents[0] ^ parents[1])
        faults += [f"{n_other} proposals are others"] * (n_other > 0)
        if faults:
            return _conclude_others(section.name, faults, old, new)
        return conclude(section.name, f"{len(parents[0])} proposals to the hash; frames of dynamics are not compared", [])
    if found != facts.proposals:
        faults.append(f"{len(set(found) ^ set(facts.proposals))} frames are of other proposals")
    if faults:
        return _conclude_others(section.name, faults, old, new)
    keep = np.ones(new.n_structures, bool)
    keep[[one.row for one in section.part.left_out]] = False
    kept = select_structures(again.arrays, keep)
    farthest = max(
        float(np.abs(arrays[f"structures/{name}"] - kept[f"structures/{name}"]).max(initial=0.0)) for name in ("positions", "cells")
    )
    if farthest > FRAME_DISTANCE:
        return conclude(section.name, "", [f"frames are up to {farthest:.1e} Å off, at most {FRAME_DISTANCE:g}"])
    text, faults = _compare_labels(arrays, kept, old.teacher.name, FRAME_TOLERANCE)
    return conclude(
        section.name, f"{int(keep.sum())} frames of the same proposals, at most {_round(farthest)} Å apart; labels {text}", faults
    )


def _conclude_others(name: str, faults: list[str], old: Receipt, new: Receipt) -> Check:
    """Other structures than those in the file: a finding, unless another kind of processor or C library made them, which is a note."""
    was, now = old.record.service_versions, new.record.service_versions
    others = [
        f"{was[what]} made the file, {now[what]} is here"
        for what in _MACHINE
        if {what} <= was.keys() & now.keys() and was[what] != now[what]
    ]
    if not others:
        return conclude(name, "", faults)
    figure = f"other structures, made on another kind of processor ({'; '.join(others)})"
    return Check(name, None, figure, tuple(faults[:FAULTS_SHOWN]))


def _find_other_record(old: Receipt, new: Receipt) -> Iterator[str]:
    for what, was, found in (
        ("generated", old.record.generated, new.record.generated),
        ("rejected by the service", old.record.service_rejected, new.record.service_rejected),
        ("rejected by curation", _reasons(old.record.rejected), _reasons(new.record.rejected)),
        ("rejected by the labeller", _reasons(old.rejected), _reasons(new.rejected)),
    ):
        if was != found:
            yield f"{what}: {found or 'none'}, the receipt says {was or 'none'}"


def _reasons(rejected: Sequence[Reject]) -> dict[str, str]:
    return {reject.id: reject.reason for reject in rejected}


def _find_other_structures(facts: PartFacts, again: Part) -> Iterator[str]:
    ids, hashes = (tuple(again.arrays[f"provenance/{name}"]) for name in ("id", "structure_hash"))
    if ids != facts.ids:
        yield f"other ids: {len(ids)} structures, {len(facts.ids)} in the file"
    elif hashes != facts.hashes:
        others = [id for id, own, was in zip(ids, hashes, facts.hashes, strict=True) if own != was]
        yield f"{len(others)} of {len(ids)} structures differ, the first is {others[0]}"


def _is_same(old: NDArray[Any], new: NDArray[Any]) -> bool:
    """The same bits, so that a -0.0 is no 0.0."""
    return old.tolist() == new.tolist() if old.dtype == object else old.tobytes() == new.astype(old.dtype).tobytes()


def _where(old: NDArray[Any], new: NDArray[Any]) -> str:
    if old.shape != new.shape or old.dtype.kind != "f":
        return ""
    return f" by at most {np.abs(old - new).max():.1e} Å"


def _account(section: Section, planned: PlannedPart) -> str:
    """What became of the structures that are not in the file."""
    receipt, fresh = section.part.receipt, set(planned.fresh)
    gone = Counter("surplus" if one.row in fresh else "duplicate" for one in section.part.left_out)
    rejected = Counter(reject.reason for reject in (*receipt.record.rejected, *receipt.rejected))
    left_out = [f"{n} {why} left out" for why, n in sorted(gone.items())]
    return "".join(f", {text} as before" for text in (*left_out, *(f"{n} rejected for {why}" for why, n in sorted(rejected.items()))))


def _compare_labels(old: Arrays, new: Arrays, teacher: str, tolerance: Tolerance = LABEL_TOLERANCE) -> tuple[str, list[str]]:
    """How far the labels lie apart at most, and which lie too far."""
    n = len(old["labels/energy"])
    if n == 0:
        return "none", []
    splits = old["structures/atomic_numbers_splits"]
    apart = {
        "energy": np.abs(old["labels/energy"] - new["labels/energy"]) / np.diff(splits),
        "forces": np.maximum.reduceat(np.abs(old["labels/forces"] - new["labels/forces"]).max(axis=1), splits[:-1]),
        "stress": np.abs(old["labels/stress"] - new["labels/stress"]).max(axis=1),
    }
    if ATOMIC_ENERGIES in old and ATOMIC_ENERGIES in new:
        atomic = np.maximum.reduceat(np.abs(old[ATOMIC_ENERGIES] - new[ATOMIC_ENERGIES]), splits[:-1])
        apart["energy"] = np.maximum(apart["energy"], atomic)
    is_tied = np.array([teacher.startswith(_TIED_TEACHERS) and '"perturb"' not in origin for origin in old["provenance/origin"]])
    faults = []
    for what, unit in (("energy", "eV/atom"), ("forces", "eV/Å"), ("stress", "eV/Å³")):
        limit = np.where(is_tied, getattr(TIE_TOLERANCE, what), getattr(tolerance, what))
        far = np.flatnonzero(~(apart[what] <= limit))
        faults += [f"{what} of {old['provenance/id'][i]} is {apart[what][i]:.1e} {unit} off, at most {limit[i]:.0e}" for i in far]
    largest = [f"{_round(apart[what].max())} {unit}" for what, unit in (("energy", "eV/atom"), ("forces", "eV/Å"), ("stress", "eV/Å³"))]
    return f"at most {', '.join(largest)} apart", faults


def _round(difference: float) -> str:
    return f"{difference:.0e}" if difference else "0"


def compare_versions(pairs: Sequence[tuple[Receipt, Receipt]]) -> Check:
    """Whether what makes the shards again is what made them: a note where it is not, as bits may differ then."""
    others: dict[str, str] = {}
    for old, new in pairs:
        was, now = _versions(old), _versions(new)
        others |= {
            what: f"{what} is {now.get(what, 'none')} here, {was.get(what, 'none')} made the file"
            for what in was | now
            if was.get(what) != now.get(what)
        }
    if not others:
        return Check("versions", True, "services, libraries, teacher and weights are those that made the file")
    advice = "this may cause differences: install the versions that `distillery recipe` names, then try again"
    return Check("versions", None, advice, tuple(others[what] for what in sorted(others)))


def _versions(receipt: Receipt) -> dict[str, str]:
    teacher = receipt.teacher
    own = {"teacher": teacher.version, "the teacher's weights": teacher.weights_sha256, "the teacher's device": teacher.device}
    return {**find_versions(receipt), **own, "contract": receipt.contract}
