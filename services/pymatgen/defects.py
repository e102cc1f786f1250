"""Point defects: an atom missing, one too many, or another in its place."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ase.geometry import get_distances

from distillery.generators.proposals import Rejected
from distillery.structures.geometry import sum_of_radii
from distillery.structures.structure import Structure, numbers_of
from services.pymatgen.options import Defect

_N_SPOTS = 100
"""Places that are compared for an interstitial."""
_LEAST_ROOM = 0.8
"""Sums of covalent radii that an interstitial keeps from its neighbours, before anything relaxes."""


def add_defects(crystal: Structure, shares: Mapping[Defect, float], elements: Sequence[str], rng: np.random.Generator) -> Structure:
    """The crystal with each kind of defect by its share, at most one of a kind, listed in `origin["defects"]`.

    Rejected("no_room") if an interstitial of an element drawn from `elements` finds no place, ("no_other_element") if there is none
    to substitute.
    """
    done: list[dict[str, Any]] = []
    for kind, share in shares.items():
        if rng.random() < share:
            crystal, what = _ADD[kind](crystal, elements, rng)
            done.append({"kind": kind, **what})
    return replace(crystal, origin={**crystal.origin, "defects": done}) if done else crystal


def _leave_out(crystal: Structure, elements: Sequence[str], rng: np.random.Generator) -> tuple[Structure, dict[str, Any]]:
    if len(crystal) < 2:
        raise Rejected("size")
    gone = int(rng.integers(len(crystal)))
    keep = np.arange(len(crystal)) != gone
    return replace(crystal, numbers=crystal.numbers[keep], positions=crystal.positions[keep]), {"element": crystal.symbols[gone]}


def _squeeze_in(crystal: Structure, elements: Sequence[str], rng: np.random.Generator) -> tuple[Structure, dict[str, Any]]:
    """One more atom in the roomiest of some random places, measured in sums of covalent radii."""
    element = str(rng.choice(list(elements)))
    spots = rng.random((_N_SPOTS, 3)) @ crystal.cell
    distances = get_distances(spots, crystal.positions, cell=crystal.cell, pbc=True)[1]
    room = (distances / sum_of_radii(numbers_of([element]), crystal.numbers)).min(axis=1)
    if room.max() < _LEAST_ROOM:
        raise Rejected("no_room")
    numbers = np.append(crystal.numbers, numbers_of([element]))
    return replace(crystal, numbers=numbers, positions=np.vstack([crystal.positions, spots[room.argmax()]])), {"element": element}


def _substitute(crystal: Structure, elements: Sequence[str], rng: np.random.Generator) -> tuple[Structure, dict[str, Any]]:
    place = int(rng.integers(len(crystal)))
    before = crystal.symbols[place]
    others = [e for e in elements if e != before]
    if not others:
        raise Rejected("no_other_element")
    element = str(rng.choice(others))
    numbers = crystal.numbers.copy()
    numbers[place] = numbers_of([element])[0]
    return replace(crystal, numbers=numbers), {"element": element, "replaces": before}


_ADD = {"vacancy": _leave_out, "interstitial": _squeeze_in, "substitution": _substitute}
