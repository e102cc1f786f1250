"""datasets and mlcroissant: Parquet with a card."""

from pathlib import Path

import mlcroissant
import numpy as np
from datasets import load_dataset

from tests.consumers.labels import Label, check, read_arguments

SPLITS = {"train": "train", "val": "validation", "test": "test"}
MATRIX = [0, 5, 4, 5, 1, 3, 4, 3, 2]


def load(folder: Path, side: str) -> list[Label]:
    """As `load_dataset` reads it."""
    rows = load_dataset(str(folder), split=SPLITS[side])
    return [
        Label(row["energy"], np.array(row["forces"]), None if row["stress"] is None else np.array(row["stress"])[MATRIX].reshape(3, 3))
        for row in rows
    ]


folder = read_arguments()[0]
records = next(iter(mlcroissant.Dataset(jsonld=str(folder / "croissant.json")).records("train-00000-of-00001")))
assert any(name.endswith("energy") for name in records)
check("datasets", load, stress="null where there is none")
