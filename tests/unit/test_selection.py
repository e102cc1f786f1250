"""Choosing structures of a dataset, and the blocks they are read in."""

from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from cli.main import app
from distillery.dataset import blocks
from distillery.dataset.blocks import read_blocks
from distillery.dataset.layout import Arrays
from distillery.dataset.selection import Selection, choose_structures
from distillery.errors import InvalidRequest
from tests.datasets import write_dataset
from tests.labelling import mixed

N = 9
WATERS, METHANES, SILICONS = [0, 3, 6], [1, 4, 7], [2, 5, 8]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dataset.h5"


@pytest.fixture(autouse=True)
def arrays(path: Path) -> Arrays:
    """Waters (3 atoms), methanes (5) and silicons (8), in turn; the source of the last three is another."""
    arrays = write_dataset(path, mixed("t", N))
    with h5py.File(path, "r+") as file:
        file["provenance/source"][6:] = ["more"] * 3
    return arrays


def write_anew(path: Path) -> None:
    """As another program does, without a seal; that of the file before is broken, as it was changed where it lay."""
    old = path.rename(path.with_name("old.h5"))
    with h5py.File(old) as before, h5py.File(path, "w") as file:
        file.attrs.update(before.attrs)
        for name in before:
            before.copy(name, file)


def choose(path: Path, **asked: object) -> list[int]:
    return choose_structures(path, Selection(**asked)).indices.tolist()  # type: ignore[arg-type]


def test_everything_is_chosen_if_nothing_is_asked(path: Path) -> None:
    assert choose(path) == list(range(N))


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        ({"sources": ("more",)}, [6, 7, 8]),
        ({"sources": ("more", "tests")}, list(range(N))),
        ({"systems": ("crystal",)}, SILICONS),
        ({"elements": ("H", "O")}, WATERS),
        ({"elements": ("H", "C", "O")}, sorted(WATERS + METHANES)),
        ({"min_atoms": 5}, sorted(METHANES + SILICONS)),
        ({"max_atoms": 5}, sorted(WATERS + METHANES)),
        ({"with_stress": True}, SILICONS),
        ({"min_atoms": 4, "max_atoms": 7, "sources": ("more",)}, [7]),
    ],
)
def test_what_is_asked_is_chosen(path: Path, asked: dict[str, object], chosen: list[int]) -> None:
    assert choose(path, **asked) == chosen


def test_the_largest_force_is_that_of_an_atom(path: Path, arrays: Arrays) -> None:
    splits = arrays["structures/atomic_numbers_splits"]
    lengths = np.linalg.norm(arrays["labels/forces"].astype(float), axis=1)
    largest = [lengths[a:b].max() for a, b in pairwise(splits)]
    limit = float(np.median(largest))
    assert choose(path, max_force=limit) == [i for i in range(N) if largest[i] <= limit]


def test_it_chooses_among_rows_and_keeps_their_order(path: Path) -> None:
    assert choose_structures(path, Selection(systems=("crystal",)), [8, 0, 2]).indices.tolist() == [8, 2]


def test_what_is_left_out_is_counted_by_the_first_reason(path: Path) -> None:
    selected = choose_structures(path, Selection(systems=("molecule",), max_atoms=4))
    assert selected.left_out == {"of another system": 3, "of more than 4 atoms": 3}
    assert selected.describe_left_out() == "3 of another system, 3 of more than 4 atoms"


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"sources": ("mor",)}, "there is no source mor; there are more, tests"),
        ({"systems": ("gas",)}, "there is no system gas; there are cluster, crystal, molecule, surface"),
        ({"elements": ("X", "Hh")}, "chemical symbols such as Si, got X, Hh"),
        ({"max_residual": float("nan")}, "max_residual is a number that is not negative, got nan"),
        ({"max_force": -1.0}, "max_force is a number that is not negative, got -1"),
    ],
)
def test_what_there_is_not_is_named(path: Path, asked: dict[str, object], text: str) -> None:
    with pytest.raises(InvalidRequest, match=text):
        choose(path, **asked)


def test_the_command_says_what_it_leaves_out(path: Path) -> None:
    write_anew(path)
    result = CliRunner().invoke(app, ["export", str(path), "--to", "extxyz", "--elements", "H,C", "--source", "tests"])
    assert result.exit_code == 0, result.output
    assert "left out: 5 with other elements" not in result.output
    assert "3 of another source, 4 with other elements" in result.output
    assert "2 structures written" in result.output


# Blocks.


@pytest.mark.parametrize("indices", [None, [4, 0, 8], [7, 7, 1], []])
def test_blocks_hold_the_rows_that_are_asked_for(
    path: Path, arrays: Arrays, monkeypatch: pytest.MonkeyPatch, indices: list[int] | None
) -> None:
    """Also where a block is two structures and reading leaves gaps out."""
    monkeypatch.setattr(blocks, "_BLOCK_STRUCTURES", 2)
    wanted = list(range(N)) if indices is None else indices
    splits = arrays["structures/atomic_numbers_splits"]
    found = [(block, k) for block in read_blocks(path, indices) for k in range(len(block))]
    assert [int(block.indices[k]) for block, k in found] == wanted
    for (block, k), i in zip(found, wanted, strict=True):
        rows = block.rows(k)
        assert np.array_equal(block.positions[rows], arrays["structures/positions"][splits[i] : splits[i + 1]])
        assert np.array_equal(block.forces[rows], arrays["labels/forces"][splits[i] : splits[i + 1]])
        assert block.energy[k] == arrays["labels/energy"][i]
        assert np.array_equal(block.cells[k], arrays["structures/cells"][i])
        assert block.texts["id"][k] == arrays["provenance/id"][i]


def test_no_block_has_more_atoms_than_it_may_unless_one_structure_has(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_BLOCK_ATOMS", 8)
    assert [block.n_atoms.tolist() for block in read_blocks(path)] == [[3, 5], [8], [3, 5], [8], [3, 5], [8]]
    monkeypatch.setattr(blocks, "_BLOCK_ATOMS", 2)
    assert [len(block) for block in read_blocks(path)] == [1] * N


def test_an_index_that_is_not_there_is_refused(path: Path) -> None:
    with pytest.raises(InvalidRequest, match="has structures 0 to 8, not 9"):
        list(read_blocks(path, [0, 9]))
