"""Files of other programs: the columns of dataset.h5 without provenance."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from cli.main import app
from distillery.dataset.foreign import import_dataset
from distillery.dataset.layout import COLUMNS, Arrays
from distillery.dataset.reading import read_dataset
from distillery.dataset.splits import split_dataset
from distillery.errors import InvalidRequest
from tests.datasets import write_dataset
from tests.labelling import mixed

N = 9


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "merged.h5"


@pytest.fixture(autouse=True)
def arrays(path: Path) -> Arrays:
    """Waters, methanes and silicons, in turn, as the older layout has them."""
    arrays = write_dataset(path, mixed("t", N))
    with h5py.File(path, "w") as file:
        for name in COLUMNS:
            if not name.startswith("provenance/"):
                file[name] = arrays[name]
        file.create_group("metadata").attrs["teacher_model"] = "orb-v2"
    return arrays


def test_reading_it_says_what_is_missing_and_what_to_do(path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"has no provenance/id, .*; `distillery import` makes one of it"):
        list(read_dataset(path))


def test_what_is_imported_has_the_same_structures_and_labels(path: Path, arrays: Arrays) -> None:
    target = path.with_name("dataset.h5")
    result = CliRunner().invoke(app, ["import", str(path), "--out", str(target)])
    assert "9 structures written" in result.output
    with h5py.File(target) as file:
        for name in COLUMNS:
            if not name.startswith("provenance/"):
                assert np.array_equal(file[name][:], arrays[name]), name
        assert file["provenance/structure_hash"].asstr()[:].tolist() == arrays["provenance/structure_hash"].tolist()
        assert file["metadata"].attrs["teacher_model"] == "orb-v2"
    found = list(read_dataset(target))
    assert [atoms.info["system"] for atoms in found] == ["molecule", "molecule", "crystal"] * 3
    assert {atoms.info["source"] for atoms in found} == {"merged"}
    assert sum(map(len, split_dataset(target).indices.values())) == N


def test_only_structures_with_a_label_are_taken(path: Path, arrays: Arrays) -> None:
    """Labels of structures 1 and 5 alone."""
    splits = arrays["structures/atomic_numbers_splits"]
    own = np.concatenate([np.arange(splits[i], splits[i + 1]) for i in (1, 5)])
    with h5py.File(path, "r+") as file:
        for name in ("energy", "stress", "stress_mask"):
            values = arrays[f"labels/{name}"][[1, 5]]
            del file[f"labels/{name}"]
            file[f"labels/{name}"] = values
        for name, values in (("forces", arrays["labels/forces"][own]), ("forces_splits", [0, 5, 13]), ("structure_indices", [1, 5])):
            del file[f"labels/{name}"]
            file[f"labels/{name}"] = values
    target = path.with_name("dataset.h5")
    assert import_dataset(path, target) == 2
    for i, atoms in zip((1, 5), read_dataset(target), strict=True):
        assert np.array_equal(atoms.positions, arrays["structures/positions"][splits[i] : splits[i + 1]])
        assert atoms.get_potential_energy() == arrays["labels/energy"][i]


def test_what_makes_no_sense_is_named(path: Path) -> None:
    target = path.with_name("dataset.h5")
    with h5py.File(path, "r+") as file:
        file["labels/structure_indices"][0] = N
    with pytest.raises(InvalidRequest, match="labels of structures 1 to 9, and 9 structures"):
        import_dataset(path, target)
    with h5py.File(path, "r+") as file:
        file["labels/structure_indices"][0] = 0
        file["labels/energy"][0] = np.nan
    with pytest.raises(InvalidRequest, match="labels/energy that are not finite"):
        import_dataset(path, target)
    with h5py.File(path, "r+") as file:
        del file["labels/forces"]
    with pytest.raises(InvalidRequest, match="has no labels/forces"):
        import_dataset(path, target)
    assert not target.exists()


def test_the_file_that_is_read_is_never_written_over(path: Path) -> None:
    content = path.read_bytes()
    with pytest.raises(InvalidRequest, match="which is read for it"):
        import_dataset(path, path, overwrite=True)
    assert path.read_bytes() == content
