"""nvalchemi-toolkit: a Zarr store a side."""

from pathlib import Path

from nvalchemi.data.datapipes.backends.zarr import AtomicDataZarrReader

from tests.consumers.labels import Label, check


def load(folder: Path, side: str) -> list[Label]:
    """As its reader reads it."""
    reader = AtomicDataZarrReader(folder / f"{side}.zarr")
    data = [reader[i][0] for i in range(len(reader))]
    return [Label(float(one["energy"]), one["forces"].numpy(), one["stress"][0].numpy()) for one in data]


check("nvalchemi-toolkit", load, stress="nan where there is none")
