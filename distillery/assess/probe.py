"""The probe set: real molecules, crystals and slabs that a student is asked about, as a recipe for the dataset's own teacher."""

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ase.data import chemical_symbols

from distillery.dataset.folder import DATASET
from distillery.dataset.layout import open_dataset
from distillery.errors import Unsupported
from distillery.runtime.canonical_json import canonical_json
from distillery.structures.smiles import count_atoms

PROBES = "probes"
"""The folder beside a dataset.h5 that its probe sets are kept in."""
COUNTS = {"molecules": 24, "crystals": 20, "slabs": 12}
"""Frames of each family, two of each structure."""
_SEED = 20_261_129
_HEAT = {"relax": {"steps": 3}, "md": {"temperature": [300, 600], "steps": 16, "every": 8}, "keep": 2}
"""Out of the worst strain, then moved by heat: what a user's dynamics would meet."""
_TEACHER = ("teacher_model", "teacher_version", "weights_sha256")
Recipe = dict[str, Any]


def describe_teacher(file: h5py.File) -> dict[str, str]:
    """Name, version and weights of who labelled a dataset."""
    return {key: str(file["metadata"].attrs[key]) for key in _TEACHER}


def make_probe_recipe(dataset: Path) -> Recipe:
    """The recipe of the probe set for a dataset: its teacher, and the elements that it has; named by both and by the teacher's version."""
    with open_dataset(dataset) as file:
        teacher = describe_teacher(file)
        elements = [chemical_symbols[z] for z in np.unique(file["structures/atomic_numbers"][:])]
    recipe: Recipe = {
        "seed": _SEED,
        "elements": elements,
        "teacher": teacher["teacher_model"],
        "shard_size": 8,
        "sample": _HEAT,
        "sources": _list_sources(elements),
    }
    digest = hashlib.sha256(canonical_json([recipe, teacher]).encode()).hexdigest()
    return {"name": f"probe-{digest[:12]}", **recipe}


def _list_sources(elements: Sequence[str]) -> dict[str, Any]:
    smiles = choose_smiles(elements)
    sources: dict[str, Any] = {
        "crystals": {"service": "pymatgen", "system": "crystal", "atoms": [4, 20], "options": {"kinds": {"real": 1}}},
        "slabs": {
            "service": "ase",
            "system": "surface",
            "atoms": [12, 40],
            "options": {"real": 1.0, "adsorbates": 0.0, "terminated": 0.0, "max_index": 1},
        },
    }
    if smiles:
        sources["molecules"] = {"service": "rdkit", "system": "molecule", "atoms": [5, 24], "options": {"smiles": smiles, "torsions": 0.0}}
    return {name: {**source, "count": COUNTS[name]} for name, source in sorted(sources.items())}


def choose_smiles(elements: Sequence[str]) -> list[str]:
    """The real molecules (molecules.smi) of these elements alone."""
    lines = (files("distillery.assess") / "molecules.smi").read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#") and set(count_atoms(line.split()[0]) or ()) <= set(elements)]


def find_probe(dataset: Path, recipe: Recipe) -> Path:
    """Where the probe set lies, or will."""
    return dataset.parent / PROBES / str(recipe["name"]) / DATASET


def require_same_teacher(dataset: Path, probe: Path) -> None:
    """Unsupported if another teacher, or another version of it, labelled the probe set: its labels would not be those to learn."""
    with open_dataset(dataset) as one, open_dataset(probe) as other:
        ours, theirs = describe_teacher(one), describe_teacher(other)
    if ours != theirs:
        raise Unsupported(
            f"{dataset} was labelled by {_name(ours)}, the probe set {probe} by {_name(theirs)}; install the teacher's version of the "
            "dataset, or give a probe set that it labelled with --probe"
        )


def _name(teacher: dict[str, str]) -> str:
    return f"{teacher['teacher_model']} ({teacher['teacher_version']}, weights {teacher['weights_sha256'][:12]})"
