"""Labels as a consumer read them, compared with those in dataset.h5; what every check prints."""

import json
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SIDES = ("train", "val", "test")


@dataclass
class Label:
    """One structure's, stress as a matrix; None or nan where it has none."""

    energy: float
    forces: Floats
    stress: Floats | None


def read_wanted(dataset: Path, rows: list[int]) -> list[Label]:
    """The labels of these rows of dataset.h5."""
    with h5py.File(dataset) as file:
        splits = file["structures/atomic_numbers_splits"][:]
        full = file["labels/stress"][:][:, [0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(-1, 3, 3)
        return [
            Label(
                float(file["labels/energy"][i]),
                file["labels/forces"][splits[i] : splits[i + 1]].astype(np.float64),
                full[i] if file["labels/stress_mask"][i] else None,
            )
            for i in rows
        ]


def compare(wanted: list[Label], found: list[Label], *, with_stress: bool) -> str:
    """How far the labels are from those wanted; AssertionError if they are others than a float32 of them."""
    assert len(wanted) == len(found), f"{len(found)} structures, not {len(wanted)}"
    differences = {"energy": 0.0, "forces": 0.0, "stress": 0.0}
    for ours, theirs in zip(wanted, found, strict=True):
        has_stress = theirs.stress is not None and not np.isnan(theirs.stress).all()
        assert has_stress == (with_stress and ours.stress is not None), "a stress is missing, or there is one that has no meaning"
        differences["energy"] = max(differences["energy"], abs(theirs.energy - ours.energy) / max(abs(ours.energy), 1.0))
        differences["forces"] = max(differences["forces"], float(np.abs(theirs.forces - ours.forces).max()))
        if has_stress:
            differences["stress"] = max(differences["stress"], float(np.abs(theirs.stress - ours.stress).max()))
    assert max(differences.values()) < 2e-6, differences
    return "equal" if not any(differences.values()) else f"within {max(differences.values()):.0e}"


def report(package: str, values: str, stress: str, sides: dict[str, int]) -> None:
    """Print what a check found, a line of JSON."""
    print(json.dumps({"package": f"{package} {version(package)}", "values": values, "stress": stress, "sides": sides}))


def read_arguments() -> tuple[Path, Path, dict[str, list[int]]]:
    """The folder that was handed over, dataset.h5, and the rows of each side."""
    folder, dataset, sides = map(Path, sys.argv[1:4])
    rows: dict[str, Any] = json.loads(sides.read_text())
    return folder, dataset, rows


def check(package: str, load: Any, *, stress: str, with_stress: bool = True) -> None:
    """Compare all sides as `load(folder, side)` reads them."""
    folder, dataset, rows = read_arguments()
    found = {side: load(folder, side) for side in SIDES}
    said = {side: compare(read_wanted(dataset, rows[side]), found[side], with_stress=with_stress) for side in SIDES}
    report(package, max(said.values(), key=len), stress, {side: len(own) for side, own in found.items()})
