"""Hessians: by differences of the forces, checked for what any Hessian is, stored of small structures, merged, verified, read back."""

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import httpx
import numpy as np
import pytest
from ase.build import molecule
from ase.vibrations import Vibrations

from distillery.dataset.blocks import read_blocks
from distillery.dataset.foreign import import_dataset
from distillery.dataset.hessians import read_hessians
from distillery.dataset.layout import HESSIAN_SPLITS, HESSIANS, Label, read_arrays
from distillery.dataset.merge import finalise
from distillery.dataset.parts import digest_arrays, read_part
from distillery.dataset.sealed_file import write_atomically
from distillery.dataset.sections import find_sections, read_section, restore_part
from distillery.errors import InvalidRequest
from distillery.export.hessian_products import draw_probe, multiply_hessians
from distillery.export.zarr_store import export_zarr
from distillery.recipe.growth import find_differences
from distillery.recipe.reading import parse_recipe
from distillery.schema.label import FinaliseRequest, Hessians, PartSelection, Reject
from distillery.structures.structure import Structure, from_ase
from distillery.verify.file_checks import check_layout, check_splits
from labeller.app import create_labeller
from labeller.hessians import differentiate, displace, find_hessian_fault, make_hessians
from labeller.settings import LabellerSettings
from labeller.structure_queue import Labelled
from labeller.teachers import create_teacher
from tests.fake_teacher import FakeTeacher, pair_label
from tests.labelling import NEVER, RECIPE, methane, mixed, receipt, silicon, water
from tests.serving import serve

PART, OTHER = "full-a-00000", "full-a-00001"
WANTED = {"labels": ["energy", "forces", "stress", "hessian"], "hessian": {"max_atoms": 5}}


def label_all(structures: Any) -> Labelled:
    return Labelled([pair_label(s) for s in structures], 0.5)


def find_hessian(structure: Structure, step: float = 0.01) -> np.ndarray[Any, Any]:
    (label,) = make_hessians(label_all, [structure], [pair_label(structure)], Hessians(step=step)).outcomes
    assert isinstance(label, Label)
    assert label.hessian is not None
    return label.hessian


# the differences


def test_a_hessian_tells_how_the_energy_changes_to_second_order() -> None:
    structure = methane("a/0000")
    hessian, direction = find_hessian(structure), np.random.default_rng(0).normal(size=(5, 3))
    at = [pair_label(replace(structure, positions=structure.positions + way * 0.01 * direction)).energy for way in (-1, 0, 1)]
    curvature = (at[0] + at[2] - 2 * at[1]) / 0.01**2
    assert direction.ravel() @ hessian @ direction.ravel() == pytest.approx(curvature, rel=2e-3)
    assert hessian.shape == (15, 15)
    assert hessian.dtype == np.float32
    assert np.array_equal(hessian, hessian.T)
    assert np.abs(hessian.reshape(15, 5, 3).sum(axis=1)).max() < 0.02


def test_the_entries_are_in_the_order_of_the_atoms_and_of_x_y_z() -> None:
    moved = displace(from_ase(molecule("N2"), id="a", system="molecule"), 0.5)
    assert len({structure.id for structure in moved}) == 12
    steps = np.array([(s.positions - molecule("N2").positions).ravel() for s in moved])
    assert np.allclose(steps[::2], 0.5 * np.eye(6))
    assert np.allclose(steps[1::2], -0.5 * np.eye(6))
    stiffness = np.arange(36.0).reshape(6, 6)
    forces = [(-step @ stiffness).reshape(2, 3).astype(np.float32) for step in steps]
    assert np.allclose(differentiate(forces, 0.5), stiffness)


def test_7net_agrees_with_the_frequencies_that_its_own_calculator_gives(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sevenn.calculator import SevenNetCalculator

        calculator = SevenNetCalculator("7net-0", device="cpu")
    atoms = molecule("H2O")
    teacher = create_teacher(LabellerSettings(teacher="7net-0"))
    teacher.load(NEVER)
    structure = from_ase(atoms, id="a/0000", system="molecule")

    def ask(structures: Any) -> Labelled:
        return Labelled(teacher.predict(teacher.featurise(structures)), 1.0)

    (label,) = make_hessians(ask, [structure], ask([structure]).outcomes, Hessians()).outcomes
    assert isinstance(label, Label)
    assert label.hessian is not None
    atoms.calc = calculator
    vibrations = Vibrations(atoms, delta=0.01, name=str(tmp_path / "vibrations"))
    vibrations.run()
    own = vibrations.get_vibrations().get_hessian_2d()
    assert np.abs(label.hessian - own).max() < 0.05
    assert np.abs(own).max() > 20


def test_only_small_structures_get_one_and_the_teachers_calls_are_counted() -> None:
    structures = [water("a/0"), silicon("a/1"), methane("a/2"), water("a/3")]
    refused = Reject(id="a/3", reason="teacher_failed", detail="", stage="label")
    outcomes = [*(pair_label(s) for s in structures[:3]), refused]
    made = make_hessians(label_all, structures, outcomes, Hessians(max_atoms=4))
    assert [isinstance(own, Label) and own.hessian is not None for own in made.outcomes] == [True, False, False, False]
    assert made.outcomes[3] is refused
    assert (made.n_calls, made.seconds) == (18, 0.5)


def test_many_structures_are_handed_over_piece_by_piece() -> None:
    sizes = list[int]()

    def ask(structures: Any) -> Labelled:
        sizes.append(len(structures))
        return label_all(structures)

    structures = mixed("a", 300)
    small = [s for s in structures if len(s) <= 5]
    made = make_hessians(ask, structures, [pair_label(s) for s in structures], Hessians(max_atoms=5))
    assert sum(sizes) == made.n_calls == sum(6 * len(s) for s in small)
    assert max(sizes) <= 2_000 < sum(sizes)
    assert min(sizes[:-1]) > 2_000 - 6 * 5, "as many at once as may be"
    for structure, label in zip(structures, made.outcomes, strict=True):
        assert isinstance(label, Label)
        assert (label.hessian is not None) == (len(structure) <= 5)
    last = made.outcomes[structures.index(small[-1])]
    assert isinstance(last, Label)
    assert np.array_equal(np.asarray(last.hessian), find_hessian(small[-1]))


# the checks


def test_a_matrix_that_is_not_symmetric_or_does_not_vanish_under_a_shift_is_refused() -> None:
    sound = find_hessian(water("a/0000")).astype(np.float64)
    assert find_hessian_fault(sound) is None
    crooked = sound.copy()
    crooked[0, 5] += 0.1 * np.abs(sound).max()
    fault = find_hessian_fault(crooked)
    assert fault is not None
    assert "not symmetric" in fault.detail
    pinned = find_hessian_fault(sound + np.eye(9) * np.abs(sound).max())
    assert pinned is not None
    assert "moving all atoms alike" in pinned.detail
    assert find_hessian_fault(sound * np.nan) is not None


def test_noise_is_let_pass_up_to_a_fiftieth_of_the_largest_entry_and_as_many_hundredths() -> None:
    """2 % and 0.02 eV/Å², together."""
    stiff = 1000 * find_hessian(water("a/0000")).astype(np.float64)
    largest = np.abs(stiff).max()
    for share, is_sound in ((0.019, True), (0.021, False)):
        crooked, pinned = stiff.copy(), stiff + share * largest * np.eye(9)
        crooked[0, 5] += share * largest
        assert (find_hessian_fault(crooked) is None) is is_sound
        assert (find_hessian_fault(pinned) is None) is is_sound
    for entry, is_sound in ((0.019, True), (0.021, False)):
        crooked = np.zeros((6, 6))
        crooked[0, 3] = entry
        assert (find_hessian_fault(crooked) is None) is is_sound
        assert (find_hessian_fault(entry * np.eye(6)) is None) is is_sound


def test_a_structure_that_has_no_label_once_displaced_has_no_hessian() -> None:
    def ask(structures: Any) -> Labelled:
        failed = Reject(id="x", reason="teacher_failed", detail="broken", stage="label")
        return Labelled([failed if s.id.endswith("#h7") else pair_label(s) for s in structures], 0.0)

    made = make_hessians(ask, [water("a/0000"), methane("a/0001")][:1], [pair_label(water("a/0000"))], Hessians())
    (reject,) = made.outcomes
    assert isinstance(reject, Reject)
    assert (reject.id, reject.reason) == ("a/0000", "no_hessian")
    assert reject.detail == "displaced a little it has no label (teacher_failed: broken)"


# parts and datasets


def make_parts(root: Path, teacher: FakeTeacher | None = None) -> list[dict[str, Any]]:
    app = create_labeller(teacher or FakeTeacher(), LabellerSettings(data=root, self_test=False))
    with serve(app) as url, httpx.Client(base_url=url, timeout=60) as client:
        return [receipt(client, part, mixed(part, 5), **WANTED) for part in (PART, OTHER)]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two parts of waters, methanes and silicons, one of them left out; the silicons are too large."""
    make_parts(tmp_path)
    parts = (PartSelection(part=OTHER, leave_out=(f"{OTHER}/0001",)), PartSelection(part=PART))
    finalise(tmp_path, FinaliseRequest(dataset="d", recipe="name: d\n", recipe_sha256=RECIPE, seed=7, parts=parts))
    return tmp_path / "d" / "dataset.h5"


KEPT = [s for s in (*mixed(OTHER, 5), *mixed(PART, 5)) if s.id != f"{OTHER}/0001"]


def test_a_part_holds_the_hessians_of_its_small_structures(tmp_path: Path) -> None:
    answers = make_parts(tmp_path)
    assert answers[0]["optional_columns"] == [HESSIANS, HESSIAN_SPLITS]
    assert answers[0]["n_calls"] == 5 + 6 * (3 + 5 + 3 + 5)
    arrays = read_part(tmp_path / "d" / "parts" / f"{PART}.h5").arrays
    assert np.diff(arrays[HESSIAN_SPLITS]).tolist() == [81, 225, 0, 81, 225]
    assert np.array_equal(arrays[HESSIANS][81 : 81 + 225].reshape(15, 15), find_hessian(mixed(PART, 5)[1]))


def test_a_teacher_whose_forces_are_no_derivatives_has_no_hessians(tmp_path: Path) -> None:
    def twist(structure: Structure, label: Label) -> Label:
        if "#h" not in structure.id:
            return label
        turned = np.cross(structure.positions - structure.positions.mean(axis=0), [0, 0, 30.0])
        return replace(label, forces=label.forces + turned.astype(np.float32))

    rejected = make_parts(tmp_path, FakeTeacher(spoil=twist))[0]["rejected"]
    assert {reject["reason"] for reject in rejected} == {"no_hessian"}
    assert len(rejected) == 4


def test_a_dataset_gives_back_each_hessian_of_what_was_kept(dataset: Path) -> None:
    for structure, hessian in zip(KEPT, read_hessians(dataset), strict=True):
        if len(structure) > 5:
            assert hessian is None
        else:
            assert np.array_equal(np.asarray(hessian), find_hessian(structure))
    (fourth, first) = read_hessians(dataset, [3, 0])
    assert np.array_equal(np.asarray(fourth), find_hessian(KEPT[3]))
    assert np.array_equal(np.asarray(first), find_hessian(KEPT[0]))
    with pytest.raises(InvalidRequest, match="structures 0 to 8, not 9"):
        list(read_hessians(dataset, [9]))


def test_a_product_is_how_forces_change_along_its_probe(dataset: Path) -> None:
    (block,) = read_blocks(dataset)
    probes, products = multiply_hessians(dataset, block)
    for k, structure in enumerate(KEPT):
        probe, product = probes[block.rows(k)], products[block.rows(k)]
        if len(structure) > 5:
            assert not probe.any()
            assert np.isnan(product).all()
            continue
        there, back = (pair_label(replace(structure, positions=structure.positions + way * probe)).forces for way in (0.001, -0.001))
        assert np.allclose(product, -(there.astype(np.float64) - back) / 0.002, atol=0.02 * np.abs(product).max())


def test_probes_are_standard_normal_and_hang_on_the_id_alone() -> None:
    probe = draw_probe("a/0000", 2000)
    assert abs(probe.mean()) < 0.05
    assert abs(probe.std() - 1) < 0.05
    assert np.array_equal(probe, draw_probe("a/0000", 2000))
    assert not np.array_equal(probe, draw_probe("a/0001", 2000))


def test_a_zarr_store_has_the_products_by_the_names_of_its_reader(dataset: Path) -> None:
    zarr = pytest.importorskip("zarr", reason="zarr is not installed: pip install 'zarr>=3'")
    export_zarr(dataset, dataset.with_name("store"), indices=np.array([3, 2]))
    store = zarr.open_group(dataset.with_name("store"), mode="r")
    (block,) = read_blocks(dataset, np.array([3, 2]))
    for name, wanted in zip(("teacher_hvp_probe", "teacher_hvp"), multiply_hessians(dataset, block), strict=True):
        assert store.attrs["fields"]["custom"][name] == "atom"
        assert np.array_equal(store[f"custom/{name}"][:], wanted, equal_nan=True)


def test_sections_are_read_as_the_parts_had_them(dataset: Path) -> None:
    with h5py.File(dataset) as file:
        for section in find_sections(file):
            arrays = read_section(file, section.structures, section.atoms, section.part.receipt.optional_columns)
            assert arrays[HESSIAN_SPLITS][0] == 0
            assert digest_arrays(arrays) == section.part.content_sha256
            assert HESSIANS not in restore_part(section, arrays).arrays
        assert check_layout(file).passed
        assert check_splits(file).passed


def rewrite(source: Path, target: Path, **columns: Any) -> h5py.File:
    def fill(changed: h5py.File) -> None:
        with h5py.File(source) as file:
            for name in file:
                file.copy(name, changed)
            for name, change in columns.items():
                values, attributes = change(file[f"labels/{name}"][:]), dict(file[f"labels/{name}"].attrs)
                del changed[f"labels/{name}"]
                if values is not None:
                    changed.create_dataset(f"labels/{name}", data=values).attrs.update(attributes)

    write_atomically(target, fill, replace=True)
    return h5py.File(target)


def test_splits_that_do_not_part_the_entries_and_a_column_without_the_other_are_found(dataset: Path) -> None:
    with rewrite(dataset, dataset.with_name("a.h5"), hessians_splits=lambda splits: splits + (np.arange(len(splits)) == 2)) as file:
        assert check_splits(file).faults == (f"{HESSIAN_SPLITS} do not part the 999 entries into Hessians of their structures",)
    with rewrite(dataset, dataset.with_name("b.h5"), hessians_splits=lambda splits: None) as file:
        assert check_layout(file).faults == (f"there is no {HESSIAN_SPLITS}",)


def test_a_dataset_without_them_says_how_to_get_them_and_what_is_imported_leaves_them(dataset: Path) -> None:
    with h5py.File(dataset) as file, h5py.File(dataset.with_name("merged.h5"), "w") as merged:
        for group in ("structures", "labels"):
            file.copy(group, merged)
    import_dataset(dataset.with_name("merged.h5"), dataset.with_name("imported.h5"))
    with pytest.raises(InvalidRequest, match=r"has no Hessians; a recipe asks for them by `labels: \[energy, forces, stress, hessian\]`"):
        next(read_hessians(dataset.with_name("imported.h5")))
    with h5py.File(dataset.with_name("imported.h5")) as file:
        assert HESSIANS not in read_arrays(file)


# recipes

TEXT = """\
name: bent
seed: 1
teacher: 7net-0
labels: [energy, forces, stress, hessian]
sources: {molecules: {service: rdkit, system: molecule, count: 5, atoms: [5, 12]}}
"""


def test_a_recipe_wants_hessians_of_up_to_12_atoms_unless_it_says_otherwise() -> None:
    recipe = parse_recipe(TEXT)
    assert recipe.hessians == Hessians(max_atoms=12, step=0.01)
    larger = parse_recipe(TEXT + "hessian: {max_atoms: 20}\n")
    assert larger.hessians == Hessians(max_atoms=20)
    assert len({recipe.sha256, larger.sha256, parse_recipe(TEXT.replace(", hessian]", "]")).sha256}) == 3
    assert parse_recipe(TEXT.replace(", hessian]", "]")).hessians is None
    (difference,) = find_differences(larger, recipe, {"molecules"})
    assert difference == "hessians is max_atoms=20 step=0.01, it was max_atoms=12 step=0.01"
    with pytest.raises(InvalidRequest, match="recipe:6: hessian: says how Hessians are made, and labels do not name hessian"):
        parse_recipe(TEXT.replace(", hessian]", "]") + "hessian: {max_atoms: 20}\n")


def test_a_record_without_them_is_as_it_was(tmp_path: Path) -> None:
    app = create_labeller(FakeTeacher(), LabellerSettings(data=tmp_path, self_test=False))
    with serve(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        assert not {"hessian", "labels"} & json.loads(json.dumps(receipt(client, PART, mixed(PART, 1))))["record"].keys()
