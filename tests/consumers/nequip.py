"""nequip: extended XYZ with the same keys everywhere."""

from pathlib import Path

from nequip.data.dataset import ASEDataset

from tests.consumers.labels import Label, check


def load(folder: Path, side: str) -> list[Label]:
    """As its ASEDataModule reads it."""
    data = ASEDataset(str(folder / f"{side}.extxyz"))
    return [Label(float(one["total_energy"]), one["forces"].numpy(), one["stress"][0].numpy()) for one in data]


check("nequip", load, stress="nan where there is none; ignored")
