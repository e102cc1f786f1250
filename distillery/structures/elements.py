"""The chemical elements, and what is said of structures before there are any: kinds of systems, how near atoms may come.

Nothing else is imported here, so that messages and recipes can be read without a library of arrays or atoms.
"""

from typing import Literal, get_args

_SYMBOLS = """
H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr
Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir
Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl
Mc Lv Ts Og
"""
ATOMIC_NUMBERS: dict[str, int] = {symbol: number for number, symbol in enumerate(_SYMBOLS.split(), start=1)}
"""By symbol, as in `ase.data.atomic_numbers`, which has a placeholder beside."""
DEFAULT_ELEMENTS: tuple[str, ...] = ("H", "C", "N", "O", "F", "Si", "P", "S", "Cl")

System = Literal["molecule", "crystal", "cluster", "surface"]
SYSTEMS: tuple[System, ...] = get_args(System)
PERIODIC_SYSTEMS: frozenset[System] = frozenset({"crystal", "surface"})

SHORTEST_DISTANCE = 0.6
"""No two atoms closer than this, Å, whatever they are (H2 is 0.74)."""
