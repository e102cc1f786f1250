"""Makes distillery/generators/compounds.json: `python -m services.pymatgen.compile_compounds`.

Facts from two places: the crystals of the AFLOW library that pymatgen ships, in their own composition, and a table of well-known
compounds of the default elements that it lacks. Left out, each for a reason, is what is no crystal that anybody has made.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase.spacegroup import crystal
from pymatgen.core.composition import Composition
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from distillery.generators.supercell import build_supercell
from distillery.structures.geometry import find_bonds
from distillery.structures.structure import Structure, from_ase, numbers_of
from services.pymatgen.prototypes import read_entries

TARGET = Path(__file__).parents[2] / "distillery" / "generators" / "compounds.json"
Point = tuple[float, float, float]
Site = tuple[str, Point]

HYPOTHETICAL = "nobody has made it"
OUTDATED = "an old determination, corrected since"
BROKEN = "SevenNet-0 finds forces above 3 eV/Å or more than 20 GPa on it: the entry is not the measured crystal"
LEFT_OUT: Mapping[str, str] = {
    **dict.fromkeys(("A_hP6_194_h C", "A_tI8_139_h C", "A_tI4_139_e Si", "A_cP46_223_dik Si", "A2B_mP12_3_bc3e_2e SiO2"), HYPOTHETICAL),
    **dict.fromkeys(("AB_hR6_160_3a_3a SiC",), HYPOTHETICAL),
    **dict.fromkeys(("A_hP4_186_ab C", "A_tP16_138_j Cl2"), OUTDATED),
    **dict.fromkeys(("A_cI16_206_c Si", "A2B_mC48_15_ae3f_2f SiO2"), BROKEN),
    **dict.fromkeys(
        (
            "AB_oI4_44_a_b GaAs", "AB_hP12_194_af_bf MoC", "A3B_cI32_204_g_c CoAs3", "A5B2_hR7_166_a2c_c Mo2B5", "AB_hP4_186_b_a BN",
            "A2B_tI12_141_e_a TiO2", "AB_oP8_62_c_c FeB", "AB2_oF72_43_ab_3b GeS2", "AB_mP4_11_e_e TiNi", "AB_hR2_166_a_b CuPt",
            "AB2_oI6_71_a_g MoPt2", "A2B_oP12_19_2a_a Ag2Se", "AB2_hP24_194_ef_fgh MgNi2", "A3BC_tP5_99_bc_a_b ZrPbO3",
            "AB_mC8_15_c_e CuO", "A5B2_hP14_194_abdf_f B5W2", "A2B_oP24_61_2c_c TiO2", "AB11_cP36_221_c_agij BaHg11",
            "AB2CD2_hP36_163_h_i_bf_i KAg(CN)2", "AB_tI8_141_a_b NbP", "AB_oP2_25_b_a CdTe", "ABC_cP12_198_a_a_a NiSbS",
            "AB4C_tI12_82_c_g_a BPO4", "A2B_hP18_180_fi_bd Mg2Ni", "AB3_hR8_155_c_de AlF3", "A4B3_cI14_229_c_b Pt3O4",
            "A3BC_mC10_8_ab_a_a ZrPbO3", "sigma_tP30_136_bf2ij Cr4Fe4Ni4PdRh2",
        ),
        BROKEN,
    ),
}  # fmt: skip
"""Label and formula of entries of the AFLOW library, and why they are not in the table."""

HIGH_PRESSURE: Mapping[str, str] = {
    "A3B_cI8_229_b_a H3S": "superconductor at 200 GPa",
    "A_tP4_136_f N2": "above 0.3 GPa",
    "A_cI16_220_c Li": "at 38.9 GPa",
}
"""Phases that are far from normal pressure. Recovered ones that were measured at it (stishovite, Si ST12) are not among these."""

SWAPPED: Mapping[str, Mapping[str, str]] = {"ABC_oP6_59_a_a_a": {"C": "Cl", "Cl": "C"}}
"""Elements of cyanogen chloride stand in each other's place in the library: its N is bonded to Cl, 1.16 Å."""

BOND_LENGTHS: Mapping[str, Mapping[str, float]] = {
    "N2": {"NN": 1.098},
    "O2": {"OO": 1.208},
    "CO": {"CO": 1.128},
    "HC": {"CH": 1.09},
    "CNCl": {"CN": 1.159, "CCl": 1.631},
    "H2O": {"HO": 0.985},
    "H3N": {"HN": 1.02},
}
"""Å, of terminal atoms; X-rays find these bonds too short (hydrogen's electron, librations) or, in the oldest work, anything.
K. P. Huber, G. Herzberg, Constants of Diatomic Molecules (1979); ClCN: C. C. Costain, J. Chem. Phys. 29, 864 (1958)."""

_RIGHT = (90.0, 90.0, 90.0)
_HEXAGONAL = (90.0, 90.0, 120.0)
_THIRD = 1 / 3


def _diagonal(x: float) -> Point:
    return (x, x, x)


# name, space group, a b c and angles, sites, reference
MORE: tuple[tuple[str, int, tuple[float, ...], tuple[Site, ...], str], ...] = (
    ("silicon", 227, (5.431, 5.431, 5.431, *_RIGHT), (("Si", (0, 0, 0)),), "Wyckoff, Crystal Structures 1 (1963)"),
    ("silicon carbide 3C", 216, (4.3596, 4.3596, 4.3596, *_RIGHT), (("Si", (0, 0, 0)), ("C", _diagonal(0.25))),
     "Wyckoff, Crystal Structures 1 (1963)"),
    ("silicon nitride, beta", 176, (7.595, 7.595, 2.9023, *_HEXAGONAL),
     (("Si", (0.1733, 0.7694, 0.25)), ("N", (_THIRD, 2 * _THIRD, 0.25)), ("N", (0.3323, 0.0314, 0.25))),
     "Grün, Acta Cryst. B 35, 800 (1979)"),
    ("silicon nitride, alpha", 159, (7.818, 7.818, 5.591, *_HEXAGONAL),
     (("Si", (0.0821, 0.5089, 0.6558)), ("Si", (0.2563, 0.1712, 0.4509)), ("N", (0.6558, 0.6075, 0.432)), ("N", (0.3154, 0.3192, 0.6962)),
      ("N", (_THIRD, 2 * _THIRD, 0.5926)), ("N", (0, 0, 0.4503))), "Kato et al., J. Am. Ceram. Soc. 58, 90 (1975)"),
    ("sinoite", 36, (8.8717, 5.4909, 4.8504, *_RIGHT),
     (("Si", (0.1763, 0.1509, 0.2815)), ("N", (0.218, 0.121, 0.6191)), ("O", (0, 0.214, 0.2309))),
     "Srinivasa et al., Acta Cryst. B 33, 3306 (1977)"),
    ("dry ice", 205, (5.624, 5.624, 5.624, *_RIGHT), (("C", (0, 0, 0)), ("O", _diagonal(0.1185))),
     "Simon & Peters, Acta Cryst. B 36, 2750 (1980)"),
    ("urea", 113, (5.565, 5.565, 4.684, *_RIGHT),
     (("C", (0, 0.5, 0.326)), ("O", (0, 0.5, 0.5953)), ("N", (0.1459, 0.6459, 0.1766)), ("H", (0.2575, 0.7575, 0.2827)),
      ("H", (0.1441, 0.6441, -0.038))), "Swaminathan et al., Acta Cryst. B 40, 300 (1984)"),
    ("ice XI", 36, (4.465, 7.859, 7.292, *_RIGHT),
     (("O", (0, 0.6645, 0.0631)), ("O", (0.5, 0.8255, -0.0631)), ("H", (0, 0.6636, 0.1963)), ("H", (0, 0.5363, 0.0183)),
      ("H", (0.6766, -0.2252, -0.0183))), "Leadbetter et al., J. Chem. Phys. 82, 424 (1985)"),
    ("stishovite", 136, (4.1773, 4.1773, 2.6655, *_RIGHT), (("Si", (0, 0, 0)), ("O", (0.3062, 0.3062, 0))),
     "Baur & Khan, Acta Cryst. B 27, 2133 (1971)"),
    ("nitrous oxide", 198, (5.656, 5.656, 5.656, *_RIGHT),
     (("N", _diagonal(-0.00306)), ("N", _diagonal(-0.11821)), ("O", _diagonal(0.1179))), "Vegard, Z. Phys. 71, 465 (1931), as ordered"),
    ("acetylene", 205, (6.14, 6.14, 6.14, *_RIGHT), (("C", _diagonal(0.05661)), ("H", _diagonal(0.15637))),
     "Sugawara & Kanda, Acta Cryst. 5, 697 (1952)"),
    ("sulfur dioxide", 41, (6.07, 5.94, 6.14, *_RIGHT), (("S", (0, 0, 0)), ("O", (0.14, 0.15, 0.118))),
     "Post, Schwartz & Fankuchen, Acta Cryst. 5, 372 (1952)"),
    ("carbon disulfide", 64, (6.16, 5.38, 8.53, *_RIGHT), (("C", (0, 0, 0)), ("S", (0, 0.11, 0.175))),
     "Baenziger & Duax, J. Chem. Phys. 48, 2974 (1968)"),
    ("hydrogen cyanide", 44, (4.13, 4.85, 4.34, *_RIGHT), (("H", (0, 0, 0)), ("C", (0, 0, 0.24562)), ("N", (0, 0, 0.51221))),
     "Dulmage & Lipscomb, Acta Cryst. 4, 330 (1951)"),
    ("benzene", 61, (7.39, 9.42, 6.81, *_RIGHT),
     (("C", (-0.0569, 0.1387, -0.0054)), ("C", (-0.1335, 0.046, 0.1264)), ("C", (-0.0774, -0.0925, 0.1295)),
      ("H", (-0.0976, 0.2447, -0.0177)), ("H", (-0.2409, 0.0794, 0.2218)), ("H", (-0.1371, -0.1631, 0.2312))),
     "Bacon, Curry & Wilson, Proc. R. Soc. A 279, 98 (1964)"),
    ("chlorine", 64, (6.145, 4.395, 8.154, *_RIGHT), (("Cl", (0, 0.1173, 0.1016)),), "Powell, Heal & Torrie, Mol. Phys. 53, 929 (1984)"),
    ("silicon diphosphide", 205, (5.7045, 5.7045, 5.7045, *_RIGHT), (("Si", (0, 0, 0)), ("P", _diagonal(0.3906))),
     "Chattopadhyay & von Schnering, Z. Kristallogr. 167, 1 (1984)"),
    ("ammonium chloride", 215, (3.868, 3.868, 3.868, *_RIGHT), (("N", (0, 0, 0)), ("Cl", _diagonal(0.5)), ("H", _diagonal(0.1535))),
     "Levy & Peterson, Phys. Rev. 86, 766 (1952), as ordered"),
    ("sulfur hexafluoride", 229, (5.915, 5.915, 5.915, *_RIGHT), (("S", (0, 0, 0)), ("F", (0.2645, 0, 0))),
     "Dolling, Powell & Sears, Mol. Phys. 37, 1859 (1979), as ordered"),
)  # fmt: skip


def compile_table() -> str:
    """The text of compounds.json, one compound a line."""
    lines = (json.dumps(entry, separators=(",", ":"), ensure_ascii=False) for entry in (*_take_library(), *_build_more()))
    return "[\n" + ",\n".join(lines) + "\n]\n"


def _take_library() -> Iterator[dict[str, Any]]:
    for entry in read_entries():
        tags, sites = entry["tags"], entry["snl"]["sites"]
        swapped = SWAPPED.get(tags["aflow"], {})
        symbols = [swapped.get(symbol, symbol) for symbol in (site["species"][0]["element"] for site in sites)]
        formula = _reduce(symbols)
        key = f"{tags['aflow']} {formula}"
        if key in LEFT_OUT:
            continue
        cell = np.array(entry["snl"]["lattice"]["matrix"], dtype=np.float64)
        positions = np.array([site["abc"] for site in sites], dtype=np.float64) @ cell
        structure = Structure("", numbers_of(symbols), positions, cell, (True, True, True), "crystal")
        names = dict.fromkeys(name for name in (tags["aflow"], tags["strukturbericht"], tags["mineral"]) if name and name != "None")
        yield _describe(tags["aflow"], list(names), structure, HIGH_PRESSURE.get(key), _cite(entry["snl"]["about"]["references"]))


def _cite(bibtex: str) -> str:
    """First author and year of the first entry, beside the library itself."""
    author, year = (re.search(pattern, bibtex) for pattern in (r'author = ["{]+\s*(.+?)["}]*,?\n', r'year\s*= ["{]+\s*(\d{4})'))
    who = f"{author[1].split(' and ')[0].strip()} {year[1]}, in " if author and year else ""
    return f"{who}AFLOW library, Mehl et al. 2017"


def _build_more() -> Iterator[dict[str, Any]]:
    for name, group, cellpar, sites, reference in MORE:
        atoms = crystal([symbol for symbol, _ in sites], [point for _, point in sites], spacegroup=group, cellpar=cellpar)
        yield _describe(name, [name], from_ase(atoms, id="", system="crystal"), None, reference)


def _describe(label: str, names: list[str], raw: Structure, pressure: str | None, reference: str) -> dict[str, Any]:
    formula = _reduce(raw.symbols)
    structure = _mend_bonds(raw, BOND_LENGTHS.get(_hill(raw), {}))
    fractional = np.linalg.solve(structure.cell.T, structure.positions.T).T
    return {
        "label": label,
        "names": names,
        "formula": formula,
        "symbols": " ".join(structure.symbols),
        "cell": (structure.cell.round(5) + 0.0).tolist(),
        "fractional": (fractional.round(6) + 0.0).tolist(),
        "pressure": pressure,
        "is_molecular": _is_molecular(structure),
        "reference": reference,
    }


def _reduce(symbols: list[str]) -> str:
    return str(Composition("".join(symbols)).reduced_formula)


def _hill(structure: Structure) -> str:
    """Symbols with reduced counts by atomic number, elements as they come in molecules (N2)."""
    elements, counts = np.unique(structure.numbers, return_counts=True)
    counts = counts // np.gcd.reduce(counts) if len(elements) > 1 else np.array([2])
    names = [structure.symbols[int(np.flatnonzero(structure.numbers == z)[0])] for z in elements]
    return "".join(name + (str(count) if count > 1 else "") for name, count in zip(names, counts, strict=True))


def _mend_bonds(structure: Structure, lengths: Mapping[str, float]) -> Structure:
    """The crystal with its terminal atoms at these distances from the only atom each is bonded to."""
    bonds, symbols = find_bonds(structure, 1.3 if lengths else 1.0), structure.symbols
    n_bonds, positions = np.bincount(bonds.i, minlength=len(structure)), structure.positions.copy()
    for i, j, vector, distance in zip(bonds.i, bonds.j, bonds.vector, bonds.distance, strict=True):
        length = lengths.get(symbols[i] + symbols[j]) or lengths.get(symbols[j] + symbols[i])
        if length is not None and n_bonds[i] == 1:
            positions[i] += (1 - length / distance) * vector * (0.5 if n_bonds[j] == 1 else 1.0)
    return replace(structure, positions=positions)


def _is_molecular(structure: Structure) -> bool:
    """True if a supercell of 2 x 2 x 2 cells falls into eight times as many pieces: then no piece is endless."""
    larger = build_supercell(structure, 2 * np.eye(3, dtype=np.int64))
    return _count_pieces(larger) == 8 * _count_pieces(structure) and _count_pieces(structure) < len(structure)


def _count_pieces(structure: Structure) -> int:
    bonds = find_bonds(structure)
    graph = coo_array((np.ones(len(bonds.i)), (bonds.i, bonds.j)), shape=(len(structure), len(structure)))
    return int(connected_components(graph, directed=False)[0])


if __name__ == "__main__":
    TARGET.write_text(compile_table(), encoding="utf-8")
