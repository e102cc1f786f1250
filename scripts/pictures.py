"""Pictures of ten structures of every source of a dataset: python scripts/pictures.py DATASET.h5 FOLDER"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from ase import Atoms
from ase.visualize.plot import plot_atoms

from distillery.dataset.reading import read_dataset

mpl.use("Agg")
from matplotlib import pyplot as plt  # the backend comes first

ROTATION = "10x,-70y,5z"
"""A little from above; slabs, whose normal is z, from the side."""
SIDE = "-80x,15y,0z"


def choose(structures: Sequence[Atoms], n: int) -> list[Atoms]:
    """n of them, evenly from the first to the last."""
    places = np.linspace(0, len(structures) - 1, min(n, len(structures))).round().astype(int)
    return [structures[place] for place in places]


def draw(structures: Sequence[Atoms], path: Path) -> None:
    """Two rows of pictures, each under its formula and its largest force."""
    figure, axes = plt.subplots(2, 5, figsize=(11, 5), layout="constrained")
    for axis in axes.ravel():
        axis.axis("off")
    for axis, atoms in zip(axes.ravel(), structures, strict=False):
        plot_atoms(atoms, axis, rotation=SIDE if atoms.info["system"] == "surface" else ROTATION, show_unit_cell=2, radii=0.7)
        largest = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
        axis.set_title(f"{atoms.get_chemical_formula(mode='hill')}\n{largest:.1f} eV/Å", fontsize=8)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main() -> None:
    """One picture a source."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    by_source: dict[str, list[Atoms]] = defaultdict(list)
    for atoms in read_dataset(given.dataset):
        by_source[atoms.info["source"]].append(atoms)
    given.folder.mkdir(parents=True, exist_ok=True)
    for source, structures in by_source.items():
        draw(choose(structures, 10), given.folder / f"{source}.png")


if __name__ == "__main__":
    main()
