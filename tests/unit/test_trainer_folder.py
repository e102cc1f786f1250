"""Datasets exported for trainers: sides, configurations, folders that are replaced or not, and the formats that only exports have."""

import json
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from ase.io import read
from typer.testing import CliRunner

from cli.main import app
from distillery.dataset.element_energies import read_element_energies
from distillery.dataset.layout import Arrays
from distillery.dataset.selection import Selection
from distillery.dataset.splits import split_dataset
from distillery.errors import InvalidRequest, Unavailable
from distillery.export.trainer_folder import export_for_trainer
from distillery.export.trainer_formats import TRAINER_FORMATS
from distillery.export.zarr_store import export_zarr
from tests.datasets import write_dataset
from tests.labelling import mixed

N = 9
SEED = 4
FRACTIONS = (0.4, 0.3, 0.3)
CONFIGURED = [name for name, trainer_format in TRAINER_FORMATS.items() if trainer_format.configuration]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dataset.h5"


@pytest.fixture(autouse=True)
def arrays(path: Path) -> Arrays:
    """Waters, methanes and silicons, in turn; with this seed and these fractions a kind is a side."""
    return write_dataset(path, mixed("t", N))


def hand(path: Path, to: str, **more: Any) -> Path:
    target = path.with_name(to)
    export_for_trainer(path, target, to, seed=SEED, fractions=FRACTIONS, **more)
    return target


@pytest.mark.parametrize("to", TRAINER_FORMATS)
def test_a_trainer_gets_its_sides_and_nothing_that_it_would_not_replace(path: Path, to: str) -> None:
    folder = hand(path, to)
    done = export_for_trainer(path, folder, to, seed=SEED, fractions=FRACTIONS)
    split = split_dataset(path, seed=SEED, fractions=FRACTIONS)
    assert done.n_structures == {side: len(own) for side, own in split.indices.items()}
    assert {entry.name for entry in path.parent.iterdir()} == {"dataset.h5", to}


@pytest.mark.parametrize("to", ["mace", "nequip", "sevenn", "graph-pes"])
def test_the_sides_are_those_of_the_split(path: Path, to: str) -> None:
    folder = hand(path, to)
    for side, own in split_dataset(path, seed=SEED, fractions=FRACTIONS).indices.items():
        assert [atoms.info["id"] for atoms in read(folder / f"{side}.extxyz", ":")] == [f"t/{i:04d}" for i in own]


@pytest.mark.parametrize("to", CONFIGURED)
def test_a_configuration_is_yaml_and_has_an_energy_for_every_element(path: Path, to: str) -> None:
    text = (hand(path, to) / TRAINER_FORMATS[to].configuration).read_text()
    assert yaml.safe_load(text)
    energies = read_element_energies(path).fitted
    assert list(energies) == ["H", "C", "O", "Si"]
    assert all(str(round(energy, 6)) in text for energy in energies.values())


def test_mace_is_told_the_energies_of_the_elements_and_the_sources(path: Path) -> None:
    found = yaml.safe_load((hand(path, "mace") / "mace.yaml").read_text())
    assert sorted(yaml.safe_load(found["E0s"])) == [1, 6, 8, 14]
    assert yaml.safe_load(found["config_type_weights"]) == {"tests": 1.0}


def test_graph_pes_trains_on_stresses_only_where_all_have_one(path: Path) -> None:
    def map_of(folder: Path) -> dict[str, str]:
        found: dict[str, str] = yaml.safe_load((folder / "graph-pes.yaml").read_text())["data"]["train"]["+file_dataset"]["property_map"]
        return found

    assert "REF_stress" not in map_of(hand(path, "graph-pes"))
    write_dataset(path, [structure for structure in mixed("t", 60) if structure.system == "crystal"])
    with h5py.File(path, "r+") as file:
        for i in range(20):
            file["provenance/origin"][i] = json.dumps({"space_group": i})
            file["provenance/service"][i] = "pymatgen"
    assert map_of(hand(path, "graph-pes"))["REF_stress"] == "stress"


def test_fairchem_gets_those_with_a_stress_apart(path: Path) -> None:
    write_dataset(path, mixed("t", N))
    folder = hand(path, "fairchem")
    sides = split_dataset(path, seed=SEED, fractions=FRACTIONS).indices
    for side, own in sides.items():
        periodic, finite = sum(i % 3 == 2 for i in own), sum(i % 3 != 2 for i in own)
        for name, n in (("periodic", periodic), ("finite", finite)):
            place = folder / side / name
            assert place.is_dir() == bool(n)
            assert not n or np.load(place / "metadata.npz")["natoms"].size == n


def test_maces_hdf5_has_groups_of_equal_size(path: Path) -> None:
    """Its reader takes the size of the first group for that of all."""
    write_dataset(path, mixed("t", 400))
    folder = hand(path, "mace-hdf5")
    n = 0
    assert len(list(folder.glob("test/*_test.h5"))) == len(list(folder.glob("test/*"))), "MACE tests on no others"
    for file_path in sorted(folder.rglob("*.h5")):
        with h5py.File(file_path) as file:
            assert len({len(group) for group in file.values()}) == 1
            n += sum(len(group) for group in file.values())
            first = file["config_batch_0/config_0"]
            has_stress = bool(first["property_weights/stress"][()])
            assert has_stress == bool(first["pbc"][0]) == (first["properties/stress"].shape == (3, 3))
    assert n == 400


def test_parquet_holds_structures_and_labels_as_they_are(path: Path, arrays: Arrays) -> None:
    folder = hand(path, "huggingface")
    rows = [row for file in sorted((folder / "data").iterdir()) for row in pq.read_table(file).to_pylist()]
    assert {row["id"] for row in rows} == set(arrays["provenance/id"])
    splits = arrays["structures/atomic_numbers_splits"]
    for row in rows:
        i = int(row["id"][-4:])
        own = slice(splits[i], splits[i + 1])
        assert row["energy"] == arrays["labels/energy"][i]
        assert np.array_equal(row["positions"], arrays["structures/positions"][own])
        assert np.array_equal(np.array(row["forces"], np.float32), arrays["labels/forces"][own])
        assert row["stress"] == (arrays["labels/stress"][i].tolist() if i % 3 == 2 else None)
        assert row["atomic_numbers"] == arrays["structures/atomic_numbers"][own].tolist()


def test_the_card_for_the_hub_names_the_files_of_each_split(path: Path) -> None:
    folder = hand(path, "huggingface")
    matter = yaml.safe_load((folder / "README.md").read_text().split("---")[1])
    (configuration,) = matter["configs"]
    assert [one["split"] for one in configuration["data_files"]] == ["train", "validation", "test"]
    assert all(list(folder.glob(one["path"])) for one in configuration["data_files"])


def test_a_zarr_store_has_pointers_and_nan_where_there_is_no_stress(path: Path, arrays: Arrays) -> None:
    zarr = pytest.importorskip("zarr", reason="zarr is not installed: pip install 'zarr>=3'")
    target = path.with_name("out.zarr")
    assert export_zarr(path, target, indices=[8, 0, 4]) == 3
    root = zarr.open_group(target, mode="r")
    assert root["meta/atoms_ptr"][:].tolist() == [0, 8, 11, 16]
    assert root["custom/dataset_row"][:].tolist() == [8, 0, 4]
    assert np.isnan(root["core/stress"][:]).all(axis=(1, 2)).tolist() == [False, True, True]
    assert np.array_equal(root["core/energy"][:, 0], arrays["labels/energy"][[8, 0, 4]])


def test_a_package_that_zarr_stores_need_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(Unavailable, match=r"pip install 'zarr>=3'"):
        export_zarr(path, path.with_name("out.zarr"))


def test_a_selection_is_kept_to_and_what_it_leaves_out_is_counted(path: Path) -> None:
    write_dataset(path, mixed("t", 60))
    with h5py.File(path, "r+") as file:
        file["provenance/source"][:30] = ["strong"] * 30
    done = export_for_trainer(path, path.with_name("mace"), "mace", seed=SEED, fractions=FRACTIONS, selection=Selection(sources=("tests",)))
    assert sum(done.n_structures.values()) == 30
    assert done.left_out == {"of another source": 30}


def test_a_side_without_structures_is_refused_before_anything_is_written(path: Path) -> None:
    with pytest.raises(InvalidRequest, match="has no structure left for val and test"):
        export_for_trainer(path, path.with_name("mace"), "mace", fractions=(1.0, 0.0, 0.0))
    assert [entry.name for entry in path.parent.iterdir()] == ["dataset.h5"]


def test_a_folder_in_which_somebody_trained_is_not_replaced(path: Path) -> None:
    folder = hand(path, "mace")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "student.pt").write_text("weeks of work")
    with pytest.raises(InvalidRequest, match=r"holds checkpoints/student\.pt, which this export does not write"):
        hand(path, "mace")
    assert (folder / "checkpoints" / "student.pt").read_text() == "weeks of work"


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["export", *arguments])
    if result.exception is not None:
        raise result.exception
    return result.output


def test_the_command_says_how_to_train(path: Path) -> None:
    output = run(str(path), "--to", "mace", "--split-seed", str(SEED), "--fractions", "0.4,0.3,0.3")
    assert "dataset-mace. There: mace_run_train --config mace.yaml" in output.replace("\n", "")
    with pytest.raises(InvalidRequest, match="there already"):
        run(str(path), "--to", "mace", "--split-seed", str(SEED), "--fractions", "0.4,0.3,0.3")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--to", "mase"), "--to must be one of mace, mace-hdf5, nequip, .*; got 'mase'"),
        (("--to", "mace", "--split", "train"), "writes all three sides into one folder"),
        (("--to", "mace", "--mace"), "--mace goes with --to extxyz only"),
        (("--to", "zarr", "--shard-size", "3"), "--shard-size goes with --to aselmdb only"),
    ],
)
def test_mistakes_are_named(path: Path, arguments: tuple[str, ...], text: str) -> None:
    with pytest.raises(InvalidRequest, match=text):
        run(str(path), *arguments)
