"""What a part's rows in a dataset.h5 hold is what they should."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import h5py
import numpy as np
import pytest

from distillery.dataset.layout import COLUMNS, Arrays
from distillery.dataset.parts import digest_arrays
from distillery.verify.structure_checks import Expected, inspect_part
from tests.datasets import write_dataset
from tests.structures import silicon, water


def expected_of(arrays: Arrays) -> Expected:
    return Expected("tests", (0, 3), (0, 14), "tests", "fake", "molecule", ("H", "O", "Si"), (3, 8), digest_arrays(arrays))


@pytest.fixture
def part(tmp_path: Any) -> tuple[Any, Expected]:
    """A water, a silicon and another water, their system forged to be the same."""
    other = replace(water("tests/0002"), positions=1.03 * water().positions)
    path = tmp_path / "dataset.h5"
    arrays = write_dataset(path, [water("tests/0000"), silicon("tests/0001"), other])
    return path, expected_of(arrays)


def put(name: str, at: Any, value: Any) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        file[name][at] = value

    return edit


def find(path: Any, expected: Expected, check: str) -> list[str]:
    return [fault for name, fault in inspect_part(path, expected) if name == check]


def test_rows_that_are_what_they_should_be_have_no_fault(part: tuple[Any, Expected]) -> None:
    path, expected = part
    assert inspect_part(path, expected) == [("provenance", "tests: system 'crystal', not 'molecule'")]


@pytest.mark.parametrize(
    ("edit", "check", "fault"),
    [
        (put("labels/stress_mask", 0, True), "stresses", "tests/0000: a stress, yet not periodic"),
        (put("labels/stress_mask", 2, True), "stresses", "tests/0002: a stress, yet not periodic"),
        (put("labels/stress", (2, 5), 0.1), "stresses", "tests: a stress that is masked and not zero"),
        (put("labels/stress", (1, 5), np.nan), "finite", "tests: labels/stress holds NaN or infinity"),
        (put("structures/cells", (1, 2, 2), np.inf), "finite", "tests: structures/cells holds NaN or infinity"),
        (put("labels/energy", 1, np.nan), "finite", "tests: labels/energy holds NaN or infinity"),
        (put("labels/forces", (13, 2), np.nan), "finite", "tests: labels/forces holds NaN or infinity"),
        (put("structures/positions", (13, 2), np.nan), "finite", "tests: structures/positions holds NaN or infinity"),
        (put("provenance/id", 1, "tests-0001"), "ids", "tests: the id 'tests-0001'"),
        (put("provenance/service", 2, "other"), "provenance", "tests: service 'other', not 'fake'"),
        (put("provenance/source", 2, "other"), "provenance", "tests: source 'other', not 'tests'"),
        (put("provenance/shard", 2, "other"), "provenance", "tests: shard 'other', not 'tests'"),
        (put("labels/energy", 1, 0.0), "digests", "tests: its structures or labels differ from their digest"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(
    part: tuple[Any, Expected], edit: Callable[[h5py.File], None], check: str, fault: str
) -> None:
    path, expected = part
    with h5py.File(path, "r+") as file:
        edit(file)
    assert fault in find(path, expected, check)


def test_of_periodic_structures_all_have_a_stress_or_none(part: tuple[Any, Expected]) -> None:
    path, expected = part
    with h5py.File(path, "r+") as file:
        file["labels/stress_mask"][1] = False
        file["labels/stress"][1] = 0.0
    assert find(path, expected, "stresses") == [], "a teacher without stresses"
    with h5py.File(path, "r+") as file:
        file["structures/pbc"][2] = True
        file["labels/stress_mask"][2] = True
    assert find(path, expected, "stresses") == ["tests/0001: periodic, yet its stress is masked"]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"elements": ("H", "O")}, "tests (tests/0001): unknown_element, Si not among H O"),
        ({"atoms": (4, 8)}, "tests (tests/0000): size, 3 atoms, wanted 4-8"),
        ({"atoms": (3, 7)}, "tests (tests/0001): size, 8 atoms, wanted 3-7"),
    ],
)
def test_chemistry_is_that_of_the_source(part: tuple[Any, Expected], change: dict[str, Any], fault: str) -> None:
    path, expected = part
    assert fault in find(path, replace(expected, **change), "chemistry")


def test_a_hash_that_is_another_is_told_with_both(part: tuple[Any, Expected]) -> None:
    path, expected = part
    with h5py.File(path, "r+") as file:
        own = file["provenance/structure_hash"].asstr()[2]
        file["provenance/structure_hash"][2] = "0" * 32
    assert find(path, expected, "hashes") == [f"tests (tests/0002): its structure hash is {own}, the file says {'0' * 32}"]


@pytest.mark.parametrize("value", [np.nan, 1e9])
def test_structures_of_nonsense_are_not_hashed(part: tuple[Any, Expected], value: float) -> None:
    path, expected = part
    with h5py.File(path, "r+") as file:
        file["structures/positions"][0] = value
    (fault,) = find(path, expected, "hashes")
    assert ("NaN or infinity" in fault) if np.isnan(value) else ("extends over" in fault)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.__delitem__("labels/stress"),
        lambda file: file.__delitem__("structures/positions"),
    ],
)
def test_a_part_that_can_not_be_read_fails_every_check(part: tuple[Any, Expected], spoil: Callable[[h5py.File], None]) -> None:
    path, expected = part
    with h5py.File(path, "r+") as file:
        spoil(file)
    faults = inspect_part(path, expected)
    assert [check for check, _ in faults] == ["finite", "stresses", "ids", "digests", "provenance", "chemistry", "hashes"]
    assert all(fault.startswith("tests can't be read: ") for _, fault in faults)


@pytest.mark.parametrize("shape", [(3, 3), (3, 5)])
def test_a_stress_of_another_shape_is_found(part: tuple[Any, Expected], shape: tuple[int, ...]) -> None:
    path, expected = part
    with h5py.File(path, "r+") as file:
        del file["labels/stress"]
        file.create_dataset("labels/stress", data=np.zeros(shape))
    assert {"digests"} <= {check for check, _ in inspect_part(path, expected)}


@pytest.mark.parametrize("name", [name for name, column in COLUMNS.items() if column.rows != "split"])
def test_a_column_of_too_few_rows_is_a_fault_and_no_crash(part: tuple[Any, Expected], name: str) -> None:
    path, expected = part
    with h5py.File(path, "r+") as file:
        rows = file[name][:-1]
        dtype = file[name].dtype
        del file[name]
        file.create_dataset(name, data=rows, dtype=dtype)
    assert {"digests"} <= {check for check, _ in inspect_part(path, expected)}
