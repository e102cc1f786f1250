"""Small molecules and crystals that every teacher of their elements should know, and how stiff they were measured to be.

A teacher whose energies, forces and stresses are all too large by one factor keeps every law of physics; only what has been measured tells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, log

from ase import Atoms
from ase.build import bulk, molecule
from ase.units import GPa

from distillery.dataset.layout import Label
from distillery.schema.label import PhysicsCheck, TeacherOutline
from distillery.structures.structure import Structure, System, from_ase
from labeller.structure_queue import LabelAll

_STEP = 0.01
"""By which all lengths are scaled."""
_STRETCH_CONSTANTS = {"HH": 5.75, "CH": 5.2, "HN": 6.8, "HO": 8.0, "CO": 5.2, "NN": 22.9}
"""mdyn/Å, of bonds by their elements (Herzberg, Molecular Spectra and Molecular Structure I and II; Wilson, Decius & Cross 1955)."""
_LONGEST_BOND = 1.6
"""Å; within it lie the bonds of these molecules and no other pairs of such elements."""
_MDYN = 6.241509
"""eV/Å² in 1 mdyn/Å."""
_BULK_MODULI = {
    **{"Si": 98.8, "SiC": 224.0, "NaCl": 24.0, "Cu": 137.0, "MgO": 162.0, "LiF": 67.0, "GaAs": 75.0, "ZnS": 77.0, "CaO": 113.0},
    **{"C": 443.0, "Ag": 100.7, "Au": 173.2, "Pt": 278.3, "Pd": 180.8, "Ni": 186.0, "Ir": 355.0, "Rh": 270.4, "Ti": 105.1},
    **{"Zr": 83.3, "V": 161.9, "Nb": 170.2, "Ta": 200.0, "Mo": 272.5, "W": 323.2, "Re": 372.0, "Mg": 35.4, "Be": 100.3},
    **{"Li": 11.6, "Na": 6.8, "Ca": 15.2, "Pb": 43.0, "Al": 72.2},
}
"""GPa, of elements (Kittel, Introduction to Solid State Physics) and compounds (Landolt-Börnstein III/29 and III/41). Iron, cobalt,
chromium and manganese are left out, which are soft or stiff by their magnetism: good models have 0.4 to 0.7 of iron's."""
_COMPOUNDS = [
    *(("SiC", "zincblende", 4.36), ("GaAs", "zincblende", 5.65), ("ZnS", "zincblende", 5.41)),
    *(("NaCl", "rocksalt", 5.64), ("MgO", "rocksalt", 4.21), ("LiF", "rocksalt", 4.03), ("CaO", "rocksalt", 4.81)),
]
"""The structure of each and its lattice constant, Å (Wyckoff, Crystal Structures); those of elements are ASE's."""
_MOST = 6
"""Molecules, and crystals, that a teacher is asked about, should it refuse those before."""
_FACTORS = {
    "each pair counted twice": 2.0,
    "Hartree and Rydberg confused": 2.0,
    "Rydberg and eV confused": 13.60569,
    "kcal/mol and eV confused": 23.0605,
    "Hartree and eV confused": 27.21139,
    "kJ/mol and eV confused": 96.4853,
    "meV and eV confused": 1000.0,
}
"""What may be wrong where all labels are so many times what they should be, or that part of it."""
_ALIKE = log(1.25)
"""How exactly a factor is known, as a logarithm: so exactly most teachers know how stiff matter is."""


@dataclass(frozen=True, eq=False)
class KnownMatter:
    """A molecule or crystal at its equilibrium.

    stiffness  second derivative of its energy by x, where all lengths are scaled by 1 + x, eV
    """

    system: System
    atoms: Atoms
    stiffness: float

    @property
    def name(self) -> str:
        """What it is called in checks."""
        return f"{self.system} {self.atoms.get_chemical_formula(empirical=self.system == 'crystal')}"

    def scale(self, factor: float) -> Structure:
        """It, with all lengths times the factor."""
        scaled = self.atoms.copy()
        if self.system == "crystal":
            scaled.set_cell(factor * scaled.cell.array, scale_atoms=True)
        else:
            scaled.positions *= factor
        return from_ase(scaled, id=f"{self.name}, {factor:g} times as large", system=self.system)


def list_known_molecules() -> list[KnownMatter]:
    """The molecules, those that most teachers know first."""
    return [_know_molecule(molecule(name)) for name in ("H2O", "CH3OH", "NH3", "CH4", "N2", "H2")]


def _know_molecule(atoms: Atoms) -> KnownMatter:
    """Scaling stretches all bonds and bends none."""
    lengths, symbols = atoms.get_all_distances(), atoms.get_chemical_symbols()
    pairs = [(lengths[i, j], "".join(sorted((symbols[i], symbols[j])))) for i in range(len(atoms)) for j in range(i)]
    bonds = [(length, elements) for length, elements in pairs if length < _LONGEST_BOND and (elements != "HH" or len(atoms) == 2)]
    return KnownMatter("molecule", atoms, sum(_MDYN * _STRETCH_CONSTANTS[elements] * length**2 for length, elements in bonds))


def list_known_crystals() -> list[KnownMatter]:
    """The crystals, those that most teachers know first; all but those of aluminium are known well to general models."""
    compounds = {name: bulk(name, crystal, a=length) for name, crystal, length in _COMPOUNDS}
    return [_know_crystal(compounds[name] if name in compounds else bulk(name), modulus) for name, modulus in _BULK_MODULI.items()]


def _know_crystal(atoms: Atoms, modulus: float) -> KnownMatter:
    """Of a bulk modulus in GPa; the cell holds two atoms at least, as networks of atoms and edges may need."""
    cell = atoms if len(atoms) > 1 else atoms * (2, 1, 1)
    return KnownMatter("crystal", cell, 9 * modulus * GPa * cell.get_volume())


def choose_known_matter(teacher: TeacherOutline) -> list[list[KnownMatter]]:
    """What a teacher should know by its elements, at most six each: molecules and, where it labels what is periodic, crystals."""
    known = set(teacher.elements)
    kinds = [list_known_molecules(), list_known_crystals() if teacher.abilities.periodic else []]
    return [[one for one in kind if known >= set(one.atoms.get_chemical_symbols())][:_MOST] for kind in kinds]


def judge_stiffness(label_all: LabelAll, factor: float, known: Sequence[KnownMatter]) -> list[PhysicsCheck]:
    """Whether the energy of any of this matter changes with its lengths as was measured, within a factor; no check without labels.

    One that is right is enough: a teacher may know some matter badly, but a wrong unit is wrong for all of it.
    """
    outcomes = label_all([one.scale(1 + step) for one in known for step in (-_STEP, 0, _STEP)]).outcomes
    found: list[tuple[float, KnownMatter]] = []
    for one, (less, same, more) in zip(known, zip(*[iter(outcomes)] * 3, strict=True), strict=True):
        if isinstance(less, Label) and isinstance(same, Label) and isinstance(more, Label):
            found.append(((less.energy + more.energy - 2 * same.energy) / _STEP**2 / one.stiffness, one))
    if not found:
        return []
    ratio, best = min(found, key=lambda pair: _miss(pair[0]))
    passed = _miss(ratio) <= log(factor)
    detail = f"stiffness: {', '.join(f'{own:.3g} of {one.name}' for own, one in found)}, in shares of what was measured"
    check = PhysicsCheck(
        law="stiffness",
        structure=best.name,
        value=ratio if isfinite(ratio) else None,
        wanted=f"1 within a factor of {factor:g}",
        passed=passed,
        detail=detail if passed else f"{detail}: {_guess_cause([own for own, _ in found])}?",
    )
    return [check]


def _miss(ratio: float) -> float:
    return abs(log(ratio)) if ratio > 0 else float("inf")


def _guess_cause(ratios: list[float]) -> str:
    """What energies that change so many times too much may be; the one in the middle counts, as a teacher may know some matter badly."""
    ratio = sorted(ratios)[(len(ratios) - 1) // 2]
    if not 0 < ratio < float("inf"):
        return "the sign confused"
    causes = [cause for cause, factor in _FACTORS.items() if abs(_miss(ratio) - log(factor)) < _ALIKE]
    return ", or ".join(causes) or "lengths in another unit"
