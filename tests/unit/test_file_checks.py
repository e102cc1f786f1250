"""The shape of a dataset.h5: each thing that can be wrong with it is found, and said in words that name it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from distillery.dataset.layout import ALL_COLUMNS, HESSIAN_SPLITS, HESSIANS, STATE
from distillery.dataset.provenance import MERGED_PARTS
from distillery.errors import InvalidRequest
from distillery.verify.file_checks import (
    Check,
    attempt,
    check_bytes,
    check_fitted_energies,
    check_layout,
    check_splits,
    conclude,
    find_differences,
    find_repeated,
)
from tests.dataset_folder import RECIPE, rewrite, write_finished

TEXT = RECIPE.replace("count: 60", "count: 6").replace("count: 30", "count: 2")
Change = Callable[[h5py.File], None]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three waters, three methanes and two silicons; tests leave it as it is."""
    return write_finished(tmp_path_factory.mktemp("data") / "pictured", TEXT)


def check(sound: Path, change: Change, which: Callable[[h5py.File], Check]) -> Check:
    """A check of the file with something changed."""
    with h5py.File(rewrite(sound, change)) as file:
        return which(file)


def leave(file: h5py.File) -> None:
    """Change nothing."""


def replace_column(name: str, change: Callable[[Any], Any], **options: Any) -> Change:
    """A column with other values, its attributes kept."""

    def edit(file: h5py.File) -> None:
        values, attributes = file[name][:], dict(file[name].attrs)
        del file[name]
        file.create_dataset(name, data=change(values), **options).attrs.update(attributes)

    return edit


def add_columns(**columns: Any) -> Change:
    def edit(file: h5py.File) -> None:
        for key, values in columns.items():
            name = {"charges": STATE[0], "multiplicities": STATE[1], "hessians": HESSIANS, "splits": HESSIAN_SPLITS}[key]
            column = ALL_COLUMNS[name]
            data = file.create_dataset(name, data=np.asarray(values, column.dtype))
            data.attrs.update({k: v for k, v in (("unit", column.unit), ("meaning", column.meaning)) if v})

    return edit


def remove(name: str) -> Change:
    def edit(file: h5py.File) -> None:
        del file[name]

    return edit


def note(name: str, key: str, value: Any) -> Change:
    def edit(file: h5py.File) -> None:
        file[name].attrs[key] = value

    return edit


# what a check says


def test_the_first_three_faults_are_told_and_how_many_there_are() -> None:
    assert conclude("a", "fine", []) == Check("a", True, "fine")
    assert conclude("a", "fine", ["x"]) == Check("a", False, "wrong", ("x",))
    assert conclude("a", "fine", list("vwxyz")) == Check("a", False, "5 wrong", ("v", "w", "x"))


def test_what_can_not_be_read_is_a_finding_after_those_before_it() -> None:
    def find() -> Iterator[str]:
        yield "first"
        raise KeyError("gone")

    assert attempt("a", lambda: "fine", find) == Check("a", False, "2 wrong", ("first", "can't be read: KeyError: 'gone'"))
    assert attempt("a", lambda: str(1 // len("x")), lambda: iter(())) == Check("a", True, "1")


# bytes


def test_the_seal_is_checked_over_all_bytes(sound: Path, tmp_path: Path) -> None:
    n_bytes = sound.stat().st_size
    assert check_bytes(sound) == Check("bytes", True, f"the sha256 of all {n_bytes:,} bytes is that of the seal")
    unsealed = rewrite(sound, leave)
    assert check_bytes(unsealed).faults == ("it does not start with a seal: not a file of this program, or cut off",)
    with pytest.raises(InvalidRequest, match=r"nothing\.h5 can't be read: No such file"):
        check_bytes(tmp_path / "nothing.h5")


# layout


def test_a_sound_layout_says_how_many_columns_it_has(sound: Path) -> None:
    assert check(sound, leave, check_layout) == Check("layout", True, "18 columns with their dtypes, shapes and units")
    charged = add_columns(charges=np.zeros(8), multiplicities=np.zeros(8))
    assert check(sound, charged, check_layout).figure == "20 columns with their dtypes, shapes and units"
    hessians = add_columns(hessians=np.zeros(81), splits=[0, *[81] * 8])
    assert check(sound, hessians, check_layout).passed is True


N_ATOMS = 3 * 3 + 3 * 5 + 2 * 8


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (remove("metadata"), "there is no group metadata"),
        (remove("provenance/origin"), "there is no provenance/origin"),
        (remove(MERGED_PARTS), f"there is no {MERGED_PARTS}"),
        (lambda file: file.create_dataset("labels/dipole", data=[1.0]), "labels/dipole does not belong there"),
        (lambda file: file.create_dataset("provenance/pieces", data=[1.0]), "provenance/pieces does not belong there"),
        (add_columns(charges=np.zeros(8)), "there is no structures/multiplicities"),
        (add_columns(multiplicities=np.zeros(8)), "there is no structures/charges"),
        (add_columns(hessians=np.zeros(81)), f"there is no {HESSIAN_SPLITS}"),
        (add_columns(splits=np.zeros(9)), f"there is no {HESSIANS}"),
        (replace_column("labels/energy", lambda own: own, dtype="<f4"), "labels/energy is float32, not float64"),
        (replace_column("provenance/id", lambda own: np.arange(8)), "provenance/id is int64, not text"),
        (replace_column("provenance/id", lambda own: own.astype("S40")), "provenance/id is |S40, not text"),
        (replace_column("provenance/id", lambda own: own, dtype=h5py.string_dtype("ascii")), "provenance/id is object, not text"),
        (replace_column("labels/stress", lambda own: own[:, :5]), "labels/stress has the shape (8, 5), not (8, 6)"),
        (replace_column("labels/stress_mask", lambda own: own[:7]), "labels/stress_mask has the shape (7,), not (8,)"),
        (replace_column("labels/forces_splits", lambda own: own[:8]), "labels/forces_splits has the shape (8,), not (9,)"),
        (replace_column("labels/forces", lambda own: own[1:]), f"labels/forces has the shape ({N_ATOMS - 1}, 3), not ({N_ATOMS}, 3)"),
        (add_columns(hessians=np.zeros(81), splits=[0, 81]), f"{HESSIAN_SPLITS} has the shape (2,), not (9,)"),
        (
            replace_column("labels/energy", lambda own: own, compression="lzf"),
            "labels/energy is compressed with lzf: only gzip opens everywhere",
        ),
        (
            note("labels/energy", "unit", "kcal/mol"),
            "labels/energy has the attributes {'unit': 'kcal/mol'}, not {'unit': 'eV'}",
        ),
        (note("labels/structure_indices", "unit", "1"), "labels/structure_indices has the attributes {'unit': '1'}, not {}"),
    ],
)
def test_what_is_wrong_with_a_column_is_named(sound: Path, change: Change, says: str) -> None:
    found = check(sound, change, check_layout)
    assert (found.name, found.passed, found.faults) == ("layout", False, (says,))


def test_columns_may_be_packed_with_gzip_or_not_at_all(sound: Path) -> None:
    for options in ({"compression": "gzip"}, {}):
        assert check(sound, replace_column("labels/energy", lambda own: own, **options), check_layout).passed is True


# splits


def test_sound_splits_say_how_much_there_is(sound: Path) -> None:
    assert check(sound, leave, check_splits) == Check("splits", True, f"8 structures, {N_ATOMS} atoms")


def put(name: str, at: Any, value: Any) -> Change:
    return replace_column(name, lambda own: np.where(np.isin(np.arange(len(own)), at), value, own))


ATOMS, FORCES = "structures/atomic_numbers_splits", "labels/forces_splits"


def both(at: Any, value: int) -> Change:
    def edit(file: h5py.File) -> None:
        for name in (ATOMS, FORCES):
            put(name, at, value)(file)

    return edit


def test_a_structure_may_be_one_atom(sound: Path) -> None:
    assert check(sound, both(1, 1), check_splits).passed is True


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (both(0, 1), f"they go from 1 to {N_ATOMS}, not from 0 to {N_ATOMS}"),
        (both(8, N_ATOMS - 1), f"they go from 0 to {N_ATOMS - 1}, not from 0 to {N_ATOMS}"),
        (both(2, 3), "structure 1 has 0 atoms"),
        (both(2, 2), "structure 1 has -1 atoms"),
        (put(FORCES, 3, 12), "forces_splits differ from atomic_numbers_splits"),
        (put("labels/structure_indices", 3, 4), "structure_indices do not count 0, 1, 2, …"),
        (replace_column("labels/structure_indices", lambda own: own[:7]), "structure_indices do not count 0, 1, 2, …"),
    ],
)
def test_splits_that_do_not_part_the_atoms_are_named(sound: Path, change: Change, says: str) -> None:
    found = check(sound, change, check_splits)
    assert (found.name, found.passed, found.faults) == ("splits", False, (says,))


@pytest.mark.parametrize(
    ("splits", "n_entries", "passed"),
    [
        ([0, 81, *[81] * 7], 81, True),
        ([0, 0, 225, *[225] * 6], 225, True),
        ([0] * 9, 0, True),
        ([0, 80, *[81] * 7], 81, False),
        ([0, 9, *[81] * 7], 81, False),
        ([1, 82, *[82] * 7], 82, False),
        ([0, 81, *[81] * 7], 82, False),
        ([0, 225, *[225] * 7], 225, False),
    ],
)
def test_a_hessian_has_9_n_squared_entries_or_none(sound: Path, splits: list[int], n_entries: int, passed: bool) -> None:
    """The first is of a water, the second of a methane."""
    found = check(sound, add_columns(hessians=np.zeros(n_entries), splits=splits), check_splits)
    assert found.passed is passed
    said = f"{HESSIAN_SPLITS} do not part the {n_entries} entries into Hessians of their structures"
    assert found.faults == (() if passed else (said,))


# content


def test_ids_that_came_before_are_counted(sound: Path) -> None:
    with h5py.File(sound) as file:
        assert list(find_repeated(file, "id")) == []
    twice = replace_column("provenance/id", lambda own: np.array([own[0], *own[:7]], dtype=object), dtype=h5py.string_dtype())
    with h5py.File(rewrite(sound, twice)) as file:
        assert list(find_repeated(file, "id")) == ["1 of 8 came before"]
    with h5py.File(rewrite(sound, remove("provenance/id"))) as file:
        (fault,) = find_repeated(file, "id")
        assert fault.startswith("provenance/id can't be read: ")


def test_fitted_energies_are_fitted_again(sound: Path) -> None:
    assert check(sound, leave, check_fitted_energies) == Check(
        "fitted energies", True, "one energy an element, recomputed from the structures' energies"
    )

    def shift(file: h5py.File) -> None:
        fitted = json.loads(file["metadata"].attrs["fitted_energies"])
        file["metadata"].attrs["fitted_energies"] = json.dumps(fitted | {"H": fitted["H"] + 0.001})

    found = check(sound, shift, check_fitted_energies)
    assert (found.name, found.passed) == ("fitted energies", False)
    assert found.faults[0].startswith("fitted_energies.H is ")


@pytest.mark.parametrize(
    ("own", "found", "says"),
    [
        (1.0, 1.0 + 0.9e-6, []),
        (1.0, 1.0 + 1.1e-6, ["x is 1.0000011, recomputed 1.0"]),
        (1e6, 1e6 - 0.9, []),
        (-1e6, -1e6 + 1.1, ["x is -999998.9, recomputed -1000000.0"]),
        (0, 0.0, []),
        (1, True, ["x is True, recomputed 1"]),
        (True, True, []),
        (False, 0, ["x is 0, recomputed False"]),
        ("a", "a", []),
        ("a", "b", ["x is b, recomputed a"]),
        (None, None, []),
        (1.0, None, ["x is None, recomputed 1.0"]),
        ([1, 2], [1, 3], ["x[1] is 3, recomputed 2"]),
        ([1, 2], [1, 2, 3], ["x is [1, 2, 3], recomputed [1, 2]"]),
        ({"a": {"b": [1]}}, {"a": {"b": [2]}}, ["x.a.b[0] is 2, recomputed 1"]),
        ({"a": 1}, {}, ["x.a is None, recomputed 1"]),
        ({}, {"more": 1}, []),
        ({"a": 1}, [1], ["x is [1], recomputed {'a': 1}"]),
    ],
)
def test_two_values_differ_by_more_than_rounding_or_not(own: Any, found: Any, says: list[str]) -> None:
    assert list(find_differences(own, found, "x")) == says


def test_at_the_top_a_difference_has_the_name_of_its_key() -> None:
    assert list(find_differences({"a": 1}, {"a": 2}, "")) == ["a is 2, recomputed 1"]
