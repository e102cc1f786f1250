"""Charge and spin of a structure: as files and programs name them, and whether its electrons allow them."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillery.structures.structure import Structure

_CHARGES = ("charge", "total_charge", "tot_charge", "net_charge")
_SPINS = ("multiplicity", "spin_multiplicity", "spin", "total_spin")
"""`spin` is a multiplicity too, as fairchem and orb have it, and MACE's `total_spin`."""
STATE_KEYS = (*_CHARGES, *_SPINS)
_MUST_BE_NUMBERS = (*_CHARGES, "multiplicity", "spin_multiplicity")
"""What says something else under these names is refused, as it would count as nothing; other programs use the others for other things."""
_NO_VALUE = {"", "none", "null", "unknown", "?", "."}
_SIGN_LAST = re.compile(r"(\d+)([+-])")
_NEARLY = 1e-6
LARGEST_CHARGE = 100
"""Either way, e: far more than any structure of a dataset has."""
_LARGEST_MULTIPLICITY = 1000


def read_state(info: Mapping[str, Any]) -> tuple[int, int]:
    """Charge and spin multiplicity of what a file says of a structure, 0 where it says nothing; ValueError where that makes no sense.

    Their names may have capitals.
    """
    info = {**{str(name).lower(): value for name, value in info.items()}, **info}
    charge = _read_one(info, _CHARGES, LARGEST_CHARGE)
    multiplicity = _read_one(info, _SPINS, _LARGEST_MULTIPLICITY)
    if multiplicity < 0:
        raise ValueError(f"the spin multiplicity is 2 S + 1, at least 1, or 0 for the lowest; got {multiplicity}")
    return charge, multiplicity


def find_multiplicities(
    numbers: NDArray[np.integer], splits: NDArray[np.integer], charges: NDArray[np.integer], given: NDArray[np.integer]
) -> NDArray[np.int64]:
    """The spin multiplicities, the lowest that the electrons allow where 0 is given; structure i has rows splits[i]:splits[i+1]."""
    lowest = 1 + (np.add.reduceat(numbers.astype(np.int64), splits[:-1]) - charges) % 2
    return np.where(given > 0, given, lowest)


def _read_one(info: Mapping[str, Any], names: tuple[str, ...], most: int) -> int:
    """The whole number that is given under these names, the same under all; arrays are the atoms' own."""
    given = {name: value for name in names if (value := _read_number(name, info.get(name))) is not None}
    if not given:
        return 0
    said = ", ".join(f"{name} {value:g}" for name, value in given.items())
    value = next(iter(given.values()))
    if max(given.values()) - min(given.values()) > _NEARLY:
        raise ValueError(f"it has {said}, which are not the same; leave one out")
    if not np.isfinite(value) or abs(value) > most or abs(value - round(value)) > _NEARLY:
        raise ValueError(f"it has {said}; a whole number of at most {most} is wanted")
    return round(value)


def _read_number(name: str, value: Any) -> float | None:
    """A number, or one as text with its sign before or behind it; None of what says nothing. ValueError of other text, and of T and F."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, bool | np.bool_) and name in _MUST_BE_NUMBERS:
        raise ValueError(f"it has {name} {value}; a whole number is wanted, or none")
    if not isinstance(value, str) or value.strip().lower() in _NO_VALUE:
        return None
    text = value.strip()
    try:
        return float(_SIGN_LAST.sub(r"\2\1", text) if _SIGN_LAST.fullmatch(text) else text)
    except ValueError:
        if name in _MUST_BE_NUMBERS:
            raise ValueError(f"it has {name} {text[:50]!r}; a whole number is wanted, or none") from None
        return None


def find_electron_fault(structure: Structure) -> str | None:
    """Why there can be no such charge and spin, or None: fewer electrons than none, or than unpaired ones, or of the wrong parity."""
    n_electrons = structure.n_electrons
    if n_electrons < 0 or abs(structure.charge) > LARGEST_CHARGE:
        return f"a charge of {structure.charge:+d} with {n_electrons + structure.charge} protons"
    n_unpaired = structure.spin_multiplicity - 1
    if structure.multiplicity < 0 or n_unpaired > n_electrons or (n_electrons - n_unpaired) % 2:
        parity = "an odd" if structure.lowest_multiplicity == 1 else "an even"
        return (
            f"a spin multiplicity of {structure.multiplicity} with {n_electrons} electrons: {parity} number is wanted, "
            f"at most {n_electrons + 1}"
        )
    return None
