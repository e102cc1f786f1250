"""Farthest-point selection against its definition, written out; what a structure is known by; what is asked of it and told."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from distillery.dataset.derivation import read_derivation
from distillery.derive import select
from distillery.derive.select import (
    ALIKE,
    ELEMENT_WEIGHT,
    MOST_OF_ONE,
    Chosen,
    describe_structures,
    measure_nearest,
    pick_farthest,
    select_structures,
    thin_out,
)
from distillery.errors import InvalidRequest
from distillery.structures.environments import describe_environments
from tests.datasets import write_dataset
from tests.labelling import methane, mixed, silicon, water

Points = NDArray[np.float32]


def draw(n: int, seed: int = 0) -> Points:
    return np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32)


def distances(some: Points, others: Points) -> NDArray[np.float64]:
    return np.linalg.norm(some[:, None].astype(np.float64) - others[None], axis=2)


def pick_by_definition(structures: list[Points], n: int) -> tuple[list[int], float]:
    """Each time the structure with the environment whose nearest one among all taken is farthest."""
    everything = np.concatenate(structures)
    known, rows = everything.astype(np.float64).mean(axis=0, keepdims=True), list[int]()
    while len(rows) < n:
        far = [-1.0 if k in rows else float(distances(own, known).min(axis=1).max()) for k, own in enumerate(structures)]
        rows.append(int(np.argmax(far)))
        known = np.concatenate([structures[k] for k in rows])
    return rows, float(distances(everything, known).min(axis=1).max())


@pytest.mark.parametrize("rows_at_once", [1 << 16, 7])
def test_it_takes_what_the_definition_takes(monkeypatch: pytest.MonkeyPatch, rows_at_once: int) -> None:
    """In pieces too: only so many environments are measured at once."""
    monkeypatch.setattr(select, "_ROWS", rows_at_once)
    structures = [draw(1 + k % 3, seed=k) for k in range(15)]
    splits = np.cumsum([0, *map(len, structures)])
    for n in (1, 2, 6, 15):
        rows, farthest = pick_farthest(np.concatenate(structures), splits, n)
        wanted, far = pick_by_definition(structures, n)
        assert rows.tolist() == wanted
        assert farthest == pytest.approx(far, abs=3e-3)


def test_of_equals_the_first_is_taken_and_none_twice() -> None:
    rows, farthest = pick_farthest(np.ones((4, 2), np.float32), np.arange(5), 4)
    assert rows.tolist() == [0, 1, 2, 3]
    assert farthest == 0.0


def test_every_hundredth_is_told() -> None:
    told = list[str]()
    pick_farthest(draw(250), np.arange(251), 201, told.append)
    assert told == ["selected 100 of 201", "selected 200 of 201"]


@pytest.mark.parametrize("rows_at_once", [1 << 16, 7])
def test_the_nearest_known_one_is_found(monkeypatch: pytest.MonkeyPatch, rows_at_once: int) -> None:
    monkeypatch.setattr(select, "_ROWS", rows_at_once)
    some, known = draw(9), draw(20, seed=1)
    assert measure_nearest(some, known) == pytest.approx(distances(some, known).min(axis=1), abs=3e-3)
    assert measure_nearest(known[3:5], known) == pytest.approx(0.0, abs=3e-3)
    assert np.isinf(measure_nearest(some, known[:0])).all()


def test_a_structure_is_known_by_its_most_different_environments() -> None:
    """The first, then what is farthest from those before, as long as it is not nearly one of them, and not more than 16."""
    line = np.array([[0.0], [0.9 * ALIKE], [3.0], [1.0], [3.0 + 0.9 * ALIKE]], np.float32)
    assert thin_out(line).ravel().tolist() == pytest.approx([0.0, 3.0 + 0.9 * ALIKE, 1.0])
    assert thin_out(np.array([[0.0], [1.1 * ALIKE]], np.float32)).tolist() == pytest.approx(np.array([[0.0], [1.1 * ALIKE]]))
    assert len(thin_out(draw(60))) == MOST_OF_ONE == 16
    assert pytest.approx(0.03) == ALIKE
    assert thin_out(draw(1)).shape == (1, 4)


def test_an_environment_has_its_numbers_and_a_mark_of_its_element() -> None:
    structure, elements = methane("m/0"), np.array([1, 6, 14])
    (found,) = describe_structures([structure], elements)
    numbers = describe_environments(structure)
    assert found.dtype == np.float32
    assert found.shape == (2, 63 + 3), "of four hydrogens that are alike one is enough"
    assert found[:, 63:].tolist() == pytest.approx(np.array([[0, ELEMENT_WEIGHT, 0], [ELEMENT_WEIGHT, 0, 0]]))
    assert found[0, :63] == pytest.approx(numbers[0], abs=1e-6)
    assert [len(own) for own in describe_structures([water("w"), silicon("s")], elements)] == [2, 1]
    assert ELEMENT_WEIGHT == 0.3


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "d.h5", mixed("t", 9))
    return tmp_path / "d.h5"


def read_ids(path: Path) -> list[str]:
    with h5py.File(path) as file:
        ids: list[str] = file["provenance/id"].asstr()[:].tolist()
        return ids


def test_what_was_asked_for_is_recorded_and_told(dataset: Path, tmp_path: Path) -> None:
    told = list[str]()
    done = select_structures(dataset, tmp_path / "some.h5", 4, tell=told.append)
    assert (done.n_structures, done.n_given) == (4, 9)
    assert done.farthest is not None
    assert told == ["described 9 of 9"]
    with h5py.File(tmp_path / "some.h5") as file:
        derivation = read_derivation(file)
    assert derivation is not None
    assert derivation.command == "select"
    assert derivation.arguments == ("--n", "4", "--by", "diversity")
    assert derivation.left_out == {"not selected": 5}
    assert "vesin" in derivation.versions


def test_at_random_the_draw_is_of_the_seed_and_recorded(dataset: Path, tmp_path: Path) -> None:
    assert select_structures(dataset, tmp_path / "some.h5", 4, by="random", seed=3) == Chosen(4, 9, None)
    rows = np.sort(np.random.default_rng(3).permutation(9)[:4])
    assert read_ids(tmp_path / "some.h5") == [f"t/{row:04d}" for row in rows]
    with h5py.File(tmp_path / "some.h5") as file:
        derivation = read_derivation(file)
    assert derivation is not None
    assert derivation.arguments == ("--n", "4", "--by", "random", "--seed", "3")
    assert "vesin" not in derivation.versions
    select_structures(dataset, tmp_path / "drawn.h5", 4, by="random")
    assert read_ids(tmp_path / "drawn.h5") == [f"t/{row:04d}" for row in np.sort(np.random.default_rng(0).permutation(9)[:4])]


def test_all_of_them_leave_nothing_out(dataset: Path, tmp_path: Path) -> None:
    assert select_structures(dataset, tmp_path / "all.h5", 9).n_structures == 9
    assert select_structures(dataset, tmp_path / "one.h5", 1).n_structures == 1
    with h5py.File(tmp_path / "all.h5") as file:
        derivation = read_derivation(file)
    assert derivation is not None
    assert derivation.left_out == {}


@pytest.mark.parametrize(("n", "by", "says"), [(10, "diversity", "between 1 and the 9"), (0, "random", "got 0"), (3, "taste", "'taste'")])
def test_what_can_not_be_selected_is_refused(dataset: Path, tmp_path: Path, n: int, by: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        select_structures(dataset, tmp_path / "some.h5", n, by=by)


def test_a_file_that_is_there_stays_unless_it_may_be_written_over(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "some.h5").write_text("mine")
    with pytest.raises(InvalidRequest, match="--force"):
        select_structures(dataset, tmp_path / "some.h5", 4)
    assert select_structures(dataset, tmp_path / "some.h5", 4, overwrite=True).n_structures == 4
    with pytest.raises(InvalidRequest):
        select_structures(dataset, dataset, 4, overwrite=True)
