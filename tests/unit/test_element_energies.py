"""Energies of the elements: fitted on a dataset, and the teacher's of isolated atoms, in the file and in exports."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import httpx
import numpy as np
import pytest
from ase.db import connect

from distillery.dataset.element_energies import FITTED, ISOLATED, fit_elements, read_element_energies
from distillery.dataset.layout import Label
from distillery.dataset.merge import finalise
from distillery.export.ase_databases import export_ase_db, export_aselmdb
from distillery.schema.label import FinaliseRequest, PartSelection
from distillery.structures.structure import Structure
from labeller.app import create_labeller
from labeller.settings import LabellerSettings
from tests.datasets import write_dataset
from tests.fake_teacher import FakeTeacher, pair_label
from tests.labelling import RECIPE, methane, mixed, one_atom, receipt, record, water
from tests.serving import serve

WANTED = {"H": -3.0, "C": -8.0, "O": -5.0, "Si": -4.0}
"""eV: the fake teacher's energies are shifted by so much an atom."""
SINGLE = 100.0
"""eV that a single atom lies above."""


def shift(structure: Structure, label: Label) -> Label:
    energy = sum(WANTED[symbol] for symbol in structure.symbols) + SINGLE * (len(structure) == 1)
    return replace(label, energy=energy + (0.0 if len(structure) == 1 else 1e-3 * label.energy))


@dataclass
class Counting(FakeTeacher):
    """Refuses single carbon atoms."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.spoil = shift
        self.raises_on = lambda s: s.symbols == ["C"]


@pytest.fixture
def teacher() -> Counting:
    return Counting(elements=tuple(WANTED))


@pytest.fixture
def client(tmp_path: Path, teacher: Counting) -> Iterator[httpx.Client]:
    app = create_labeller(teacher, LabellerSettings(data=tmp_path, self_test=False))
    with serve(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client


def make(client: httpx.Client, root: Path, n: int = 12) -> Path:
    """A dataset of two parts, of structures and of a lone hydrogen atom."""
    hydrogen = replace(one_atom("p-b-00000/0000"), numbers=np.array([1], np.uint8))
    for part, structures in (("p-a-00000", mixed("p-a-00000", n)), ("p-b-00000", [hydrogen])):
        receipt(client, part, structures, elements=list(WANTED))
    parts = tuple(PartSelection(part=part) for part in ("p-a-00000", "p-b-00000"))
    finalise(root, FinaliseRequest(dataset="d", recipe="name: d\n", recipe_sha256=RECIPE, seed=7, parts=parts))
    return root / "d" / "dataset.h5"


def test_the_fit_finds_the_energy_of_each_element_and_single_atoms_do_not_disturb_it(client: httpx.Client, tmp_path: Path) -> None:
    fitted = read_element_energies(make(client, tmp_path)).fitted
    assert list(fitted) == ["H", "C", "O", "Si"]
    assert fitted["Si"] == pytest.approx(WANTED["Si"], abs=0.05)
    assert 4 * fitted["H"] + fitted["C"] == pytest.approx(4 * WANTED["H"] + WANTED["C"], abs=0.1), "methane"
    assert 2 * fitted["H"] + fitted["O"] == pytest.approx(2 * WANTED["H"] + WANTED["O"], abs=0.1), "water"


def test_the_teachers_isolated_atoms_are_there_but_for_those_that_it_refuses(
    client: httpx.Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    isolated = read_element_energies(make(client, tmp_path)).isolated
    assert isolated == {symbol: WANTED[symbol] + SINGLE for symbol in ("H", "O", "Si")}
    assert "isolated C: no label (teacher_failed" in caplog.text


def test_each_isolated_atom_is_asked_for_once_in_a_labellers_life(client: httpx.Client, tmp_path: Path, teacher: Counting) -> None:
    make(client, tmp_path)
    asked = [id for batch in teacher.seen for id in batch if id.startswith("isolated")]
    assert sorted(asked) == ["isolated H", "isolated O", "isolated Si"]


def test_a_record_that_names_no_elements_asks_for_no_atoms(client: httpx.Client) -> None:
    answer = receipt(client, "p-a-00000", [water("p-a-00000/0000")])
    assert "isolated_atoms" not in answer, "receipts of before stay as they were, and so do digests over them"
    assert "elements" not in record()


def test_the_file_holds_both_under_their_own_names_as_json(client: httpx.Client, tmp_path: Path) -> None:
    with h5py.File(make(client, tmp_path)) as file:
        found = file["metadata"].attrs
        assert json.loads(found[ISOLATED]).keys() == {"H", "O", "Si"}
        assert json.loads(found[FITTED]).keys() == set(WANTED)


def test_a_file_of_before_is_fitted_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "dataset.h5"
    write_dataset(path, [*mixed("t", 6), one_atom("t/0006")])
    energies = read_element_energies(path)
    assert energies.fitted.keys() == set(WANTED), "fluorine, which is there as a single atom only, is left out"
    assert not energies.isolated
    methanes = pair_label(methane("x")).energy
    assert 4 * energies.fitted["H"] + energies.fitted["C"] == pytest.approx(methanes, rel=0.1)


def test_databases_carry_them_in_their_metadata(client: httpx.Client, tmp_path: Path) -> None:
    dataset = make(client, tmp_path)
    export_ase_db(dataset, tmp_path / "one.db")
    export_aselmdb(dataset, tmp_path / "lmdb")
    for path, kind in ((tmp_path / "one.db", "db"), (tmp_path / "lmdb" / "data.aselmdb", "aselmdb")):
        with connect(path, type=kind) as database:
            metadata = database.metadata
        assert metadata[FITTED].keys() == set(WANTED)
        assert metadata[ISOLATED]["H"] == WANTED["H"] + SINGLE


def test_a_fit_of_very_many_structures_knows_rare_elements_and_is_that_of_all() -> None:
    rng = np.random.default_rng(3)
    n, truth = 60_000, np.array([-1.0, -5.0, -9.0])
    counts = rng.integers(1, 9, (n, 3))
    counts[:, 2] = 0
    counts[7:13, 2] = 4
    energies = counts @ truth + rng.normal(0, 0.05, n) * counts.sum(axis=1)
    fit, residuals = fit_elements(energies, counts)
    assert fit[:2] == pytest.approx(truth[:2], abs=0.01)
    assert fit[2] == pytest.approx(truth[2], abs=0.2)
    assert residuals.shape == (n,)
    assert np.median(np.abs(residuals)) == pytest.approx(0.6745 * 0.05, rel=0.05)
