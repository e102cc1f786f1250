"""The elements this service knows and the distances between them, all from ASE's tables."""

import numpy as np
from ase.data import atomic_numbers, chemical_symbols, covalent_radii, reference_states
from ase.data.vdw_alvarez import vdw_radii
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_HEAVIEST = 83
"""Bismuth; beyond it every element is radioactive."""
_LEFT_OUT = frozenset({"He", "Ne", "Ar", "Kr", "Xe", "Tc", "Pm"})
"""Noble gases bind to nothing, technetium and promethium have no stable isotope."""
ELEMENTS: tuple[str, ...] = tuple(s for s in chemical_symbols[1 : _HEAVIEST + 1] if s not in _LEFT_OUT)

VALENCE: dict[str, int] = {
    **dict.fromkeys(("H", "F", "Cl", "Br", "I"), 1),
    **dict.fromkeys(("O", "S", "Se", "Te"), 2),
    **dict.fromkeys(("B", "N", "P", "As", "Sb"), 3),
    **dict.fromkeys(("C", "Si", "Ge", "Sn"), 4),
}
"""Single bonds of the nonmetals; metals are left out."""
_COORDINATION = 8
"""Mean number of neighbours in small compact clusters."""
_NON_BONDED = 0.7
PAULING_SOURCE = "Cordero et al. 2008 radii, stretched by Pauling's rule, J. Am. Chem. Soc. 69, 542 (1947)"
RADII_SOURCE = "sums of covalent radii, Cordero et al. 2008 (ase.data.covalent_radii)"
GRAPHITE_SOURCE = "graphite, Trucano and Chen, Nature 258, 136 (1975)"
REFERENCE_SOURCE = "ase.data.reference_states"
COVALENT: Floats = np.asarray(covalent_radii, dtype=np.float64)
"""Covalent radii by atomic number, Cordero et al., Dalton Trans. 2008, 2832, Å."""
VAN_DER_WAALS: Floats = np.asarray(vdw_radii, dtype=np.float64)
"""Van der Waals radii by atomic number, Alvarez, Dalton Trans. 2013, 42, 8617, Å; NaN where unknown."""

_CLOSE_PACKED = {"fcc": 2**-0.5, "bcc": 3**0.5 / 2, "hcp": 1.0}
"""Nearest-neighbour distance in lattice constants."""


def lattice_of(symbol: str) -> str | None:
    """fcc, bcc, hcp or diamond where ASE knows the element's reference lattice and it is one of these, else None."""
    state = reference_states[atomic_numbers[symbol]]
    if state is None or "basis" in state or state["symmetry"] not in (*_CLOSE_PACKED, "diamond"):
        return None
    return str(state["symmetry"])


def metallic_distance(symbol: str) -> float | None:
    """Nearest-neighbour distance of an element that is fcc, bcc or hcp, Å, else None."""
    factor, state = _CLOSE_PACKED.get(lattice_of(symbol) or ""), reference_states[atomic_numbers[symbol]]
    return None if factor is None or state is None else factor * float(str(state["a"]))


def touching_distances(numbers: NDArray[np.int64]) -> Floats:
    """How near atoms of each pair of elements come, Å, shape (n_elements, n_elements).

    The sum of covalent radii; but 0.7 sums of van der Waals radii for two univalent atoms, which do not bind once
    each is bound elsewhere.
    """
    touching = COVALENT[numbers][:, None] + COVALENT[numbers][None]
    apart = _NON_BONDED * (VAN_DER_WAALS[numbers][:, None] + VAN_DER_WAALS[numbers][None])
    univalent = are_univalent(numbers)
    return np.where(univalent[:, None] & univalent[None], apart, touching)


def stretching(numbers: NDArray[np.int64]) -> Floats:
    """How much longer bonds between packed atoms are than single bonds, Å, shape (n_elements, n_elements).

    Pauling's D(n) = D(1) - 0.6 log10(n) with bond order n = valence / 8 neighbours, of the element with more valences.
    """
    valence = np.array([VALENCE.get(chemical_symbols[z], _COORDINATION) for z in numbers])
    order = np.minimum(np.maximum(valence[:, None], valence[None]) / _COORDINATION, 1.0)
    univalent = are_univalent(numbers)
    return np.where(univalent[:, None] & univalent[None], 0.0, -0.6 * np.log10(order))


def packing_distances(numbers: NDArray[np.int64], scale: float) -> Floats:
    """How near atoms come that are packed at random, Å, shape (n_elements, n_elements): `scale` times their contact, stretched.

    Two oxygens keep 0.7 sums of van der Waals radii, as two univalent atoms do: at a stretched bond's length from many others,
    7net-0 finds forces of thousands of eV/Å on them.
    """
    oxygen = numbers == atomic_numbers["O"]
    apart = scale * 2 * _NON_BONDED * VAN_DER_WAALS[atomic_numbers["O"]]
    packed = scale * touching_distances(numbers) + stretching(numbers)
    return np.where(oxygen[:, None] & oxygen[None], apart, packed)


def are_univalent(numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """True for hydrogen and halogens."""
    return np.isin(numbers, [atomic_numbers[s] for s, valence in VALENCE.items() if valence == 1])
