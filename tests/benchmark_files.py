"""Small files in exactly the formats of OC20, OC22 and MatBench, of made-up rock salts."""

import gzip
import io
import json
import lzma
import pickle
from collections.abc import Sequence
from pathlib import Path

import ase.io
import lmdb
import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.data import atomic_numbers, covalent_radii

_PARTNERS = {
    "H": ("Si", "P", "S", "Cl"),
    "C": ("F", "Si", "P", "S"),
    "N": ("O", "Si", "P", "S"),
    "O": ("Si", "P", "S"),
    "Si": ("P", "S", "Cl"),
    "P": ("S", "Cl"),
    "S": ("Cl",),
}
PAIRS = tuple((one, other) for one, partners in _PARTNERS.items() for other in partners)
"""Of which rock salts pass the checks, with bonds 1.10 to 1.15 times the sum of covalent radii."""
_SMALLEST_EDGE = 3.45
"""Å; below this eight atoms are denser than any solid."""


def rock_salts(n: int, seed: int = 0) -> list[Atoms]:
    """Cubic cells of 8 atoms, no two alike, going through the pairs of the nine elements."""
    rng, n_rounds = np.random.default_rng(seed), -(-n // len(PAIRS))
    shares = [(k // len(PAIRS) + float(rng.uniform(0, 0.3))) / n_rounds for k in range(n)]
    return [_rock_salt(*PAIRS[k % len(PAIRS)], stretch=1.10 + 0.05 * share) for k, share in enumerate(shares)]


def _rock_salt(a: str, b: str, stretch: float) -> Atoms:
    bond = covalent_radii[atomic_numbers[a]] + covalent_radii[atomic_numbers[b]]
    return bulk(a + b, "rocksalt", max(2 * bond, _SMALLEST_EDGE) * stretch, cubic=True)


def slabs(n: int, seed: int = 0, vacuum: float = 18.0) -> list[Atoms]:
    """Slabs of 64 atoms, periodic in all directions, as Open Catalyst has them."""
    made = [cell.repeat((2, 2, 2)) for cell in rock_salts(n, seed)]
    for slab in made:
        slab.cell[2, 2] += vacuum
        slab.set_constraint(FixAtoms(indices=range(16)))
        slab.set_tags([0] * 16 + [1] * 48)
    return made


def write_oc20(path: Path, structures: Sequence[Atoms], first_sid: int = 100) -> None:
    """`path` (*.extxyz.xz) and the *.txt.xz beside it; the energy of structure k is -k eV, its reference energy -100 - k eV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    for k, atoms in enumerate(structures):
        labelled = atoms.copy()
        labelled.calc = SinglePointCalculator(labelled, energy=-float(k), free_energy=-float(k), forces=np.zeros((len(atoms), 3)))
        ase.io.write(text, labelled, format="extxyz")
    lines = [f"random{first_sid + k},frame{7 * k},{-100.0 - k}\n" for k in range(len(structures))]
    path.write_bytes(lzma.compress(text.getvalue().encode(), preset=0))
    path.with_name(path.name.replace(".extxyz.xz", ".txt.xz")).write_bytes(lzma.compress("".join(lines).encode(), preset=0))


def write_lmdb(path: Path, values: Sequence[object]) -> None:
    """An LMDB as Open Catalyst writes it: pickles under ASCII integers, and `length`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with lmdb.open(str(path), map_size=1 << 26, subdir=False, meminit=False) as env, env.begin(write=True) as transaction:
        for k, value in enumerate(values):
            transaction.put(str(k).encode("ascii"), value if isinstance(value, bytes) else pickle.dumps(value, protocol=-1))
        transaction.put(b"length", pickle.dumps(len(values), protocol=-1))


def matbench_table(structures: Sequence[Atoms], column: str) -> dict[str, object]:
    """A table of pymatgen's dicts with a property; that of row k is k."""
    return {
        "index": list(range(len(structures))),
        "columns": ["structure", column],
        "data": [[_to_dict(a), k] for k, a in enumerate(structures)],
    }


def _to_dict(atoms: Atoms) -> dict[str, object]:
    from pymatgen.core import Structure

    structure = Structure(atoms.cell.array, atoms.get_chemical_symbols(), atoms.get_scaled_positions())
    return dict(structure.as_dict())


def write_matbench(path: Path, structures: Sequence[Atoms], column: str = "property") -> None:
    """A MatBench file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(json.dumps(matbench_table(structures, column)).encode(), compresslevel=1))


def write_benchmarks(folder: Path) -> None:
    """Enough of OC20 and MatBench for the contract's tests."""
    write_oc20(folder / "oc20" / "0.extxyz.xz", slabs(36))
    write_oc20(folder / "oc20" / "1.extxyz.xz", slabs(18, seed=1))
    write_matbench(folder / "matbench_jdft2d.json.gz", rock_salts(1000), "exfoliation_en")
    for seed, task in enumerate(("phonons", "dielectric", "perovskites"), 1):
        write_matbench(folder / f"matbench_{task}.json.gz", rock_salts(12, seed))
