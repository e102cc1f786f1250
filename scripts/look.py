"""What is in a dataset, to be looked at: python -m scripts.look DATASET.h5 FOLDER

Writes FOLDER/<source>.png, ten structures of every source, and prints a table by source: largest force of a structure (median, 90th and
99th percentile), the share whose reduced composition is that of a real compound, and how far five steps of relaxation by the dataset's
teacher lower the energy of twenty of them.
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import matplotlib as mpl
import numpy as np
from ase import Atoms
from ase.visualize.plot import plot_atoms
from rich.console import Console
from rich.table import Table

from distillery.dataset.layout import Label
from distillery.dataset.reading import read_dataset
from distillery.generators.compounds import find_compounds
from distillery.schema.sample import Relax, Sample
from distillery.structures.structure import from_ase
from labeller.sampling import Sampler
from tests.worth import CountingTeacher, name_composition

mpl.use("Agg")
from matplotlib import pyplot as plt

TURNED = "10x,-70y,5z"
FROM_THE_SIDE = "-80x,15y,0z"
"""Of slabs, whose normal is z."""
N_PICTURES, N_RELAXED = 10, 20


def choose(structures: Sequence[Atoms], n: int) -> list[Atoms]:
    """n of them, evenly from the first to the last."""
    places = np.linspace(0, len(structures) - 1, min(n, len(structures))).round().astype(int)
    return [structures[place] for place in places]


def draw(structures: Sequence[Atoms], path: Path) -> None:
    """Two rows of pictures, each under its formula and its largest force."""
    figure, axes = plt.subplots(2, N_PICTURES // 2, figsize=(11, 5), layout="constrained")
    for axis in axes.ravel():
        axis.axis("off")
    for axis, atoms in zip(axes.ravel(), structures, strict=False):
        rotation = FROM_THE_SIDE if atoms.info["system"] == "surface" else TURNED
        plot_atoms(atoms, axis, rotation=rotation, show_unit_cell=2, radii=0.7)
        axis.set_title(f"{atoms.get_chemical_formula(mode='hill')}\n{find_largest_force(atoms):.1f} eV/Å", fontsize=8)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def find_largest_force(atoms: Atoms) -> float:
    """On any atom, eV/Å."""
    return float(np.linalg.norm(atoms.get_forces(), axis=1).max())


def find_relaxation(structures: Sequence[Atoms], teacher: CountingTeacher) -> float:
    """Median of what five steps take off the energy, meV/atom."""
    before = [from_ase(atoms, id=f"look/{k:04d}", system=atoms.info["system"]) for k, atoms in enumerate(structures)]
    relaxed = Sampler(teacher.label_all, Sample(relax=Relax(steps=5)), seed=0).make_frames(before)
    pairs = zip(relaxed.structures, relaxed.outcomes, strict=True)
    after = {structure.id: label.energy for structure, label in pairs if isinstance(label, Label)}
    falls = [
        (atoms.get_potential_energy() - after[s.id]) / len(atoms) for atoms, s in zip(structures, before, strict=True) if s.id in after
    ]
    return 1000 * float(np.median(falls))


def main() -> None:
    """One picture and one row a source."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    by_source: dict[str, list[Atoms]] = defaultdict(list)
    for source, group in groupby(read_dataset(given.dataset), key=lambda atoms: str(atoms.info["source"])):
        by_source[source] += group
    given.folder.mkdir(parents=True, exist_ok=True)
    elements = sorted({symbol for structures in by_source.values() for atoms in structures for symbol in set(atoms.symbols)})
    real = {name_composition(compound.structure.numbers) for compound in find_compounds(tuple(elements))}
    teacher = CountingTeacher()
    table = Table("source", "structures", "largest force: median", "p90", "p99", "real compositions", "relaxation, meV/atom")
    for source, structures in by_source.items():
        draw(choose(structures, N_PICTURES), given.folder / f"{source}.png")
        forces = np.percentile([find_largest_force(atoms) for atoms in structures], (50, 90, 99))
        share = np.mean([name_composition(atoms.numbers) in real for atoms in structures])
        fall = find_relaxation(choose(structures, N_RELAXED), teacher)
        table.add_row(source, str(len(structures)), *(f"{force:.1f}" for force in forces), f"{share:.0%}", f"{fall:.0f}")
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
