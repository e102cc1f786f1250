"""`distillery assess` on a small dataset of hydrocarbons with the fake teacher's labels, asked about other ones."""

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase.build import molecule

from distillery.assess.assessment import Budget, assess_dataset
from distillery.assess.probe import make_probe_recipe
from distillery.dataset.folder import list_parts
from distillery.dataset.layout import open_dataset
from distillery.dataset.merge import finalise
from distillery.errors import InvalidRequest, Unsupported
from distillery.recipe.reading import parse_recipe
from distillery.schema.assess import Assessment
from distillery.schema.label import FinaliseRequest, PartSelection
from distillery.structures.structure import Structure
from tests.command import Finished, distillery, distillery_here
from tests.dataset_folder import write_parts
from tests.datasets import write_dataset
from tests.fake_teacher import pair_label
from tests.labelling import water
from tests.once import made_once

SMALL = ("CH4", "C2H2", "C2H4", "C2H6", "C3H4_C3v", "C3H6_D3h")
LARGE = ("C3H8", "isobutane", "trans-butane", "butadiene", "C6H6", "bicyclobutane")


def write_hydrocarbons(root: Path, name: str, seed: int, names: dict[str, tuple[str, ...]], count: int) -> Path:
    """A dataset.h5 of displaced molecules; a source for each group of names."""
    sources = "\n".join(f"  {source}: {{service: rdkit, system: molecule, count: {count}}}" for source in names)
    text = f"name: {name}\nseed: {seed}\nteacher: fake\nelements: [H, C]\nshard_size: 100\nsources:\n{sources}\n"

    def become_hydrocarbon(structure: Structure) -> Structure:
        rng = np.random.default_rng(list(f"{seed} {structure.id}".encode()))
        atoms = molecule(str(rng.choice(names[structure.id.split("-")[1]])))
        moved = atoms.positions + rng.normal(0, 0.06, (len(atoms), 3))
        return replace(structure, numbers=atoms.numbers.astype(np.uint8), positions=moved, cell=np.zeros((3, 3)), pbc=(False, False, False))

    write_parts(root / name, text, change=become_hydrocarbon, relabel=lambda structure, label: pair_label(structure))
    parts = tuple(PartSelection(part=part) for part in list_parts(root / name))
    finalise(root, FinaliseRequest(dataset=name, recipe=text, recipe_sha256=parse_recipe(text).sha256, seed=seed, parts=parts))
    return root / name / "dataset.h5"


@pytest.fixture(scope="module")
def assessed(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A folder with `taught` and `asked`, and what the command said of them."""

    def make(folder: Path) -> tuple[int, str]:
        write_hydrocarbons(folder, "taught", 3, {"small": SMALL, "large": LARGE}, 40)
        write_hydrocarbons(folder, "asked", 4, {"gases": SMALL, "liquids": LARGE}, 8)
        given = ("--data", str(folder), "--probe", "asked", "--budget", "60", "--dynamics", "5")
        done = distillery("assess", "taught", *given, cwd=folder)
        return done.returncode, done.output

    folder, (returncode, output) = made_once(tmp_path_factory, "assessed", make)
    return Finished(folder, returncode, output)


def test_the_command_writes_what_a_student_learnt(assessed: Finished) -> None:
    assert assessed.returncode == 0, assessed.output
    found = Assessment.model_validate_json((assessed.folder / "taught" / "assess.json").read_bytes())
    assert [point.share for point in found.curve] == [0.25, 0.5, 1.0]
    assert [set(point.family) for point in found.curve] == 3 * [{"gases", "liquids"}]
    assert found.teacher == "fake (fake==1)"
    assert found.student.startswith("nequip==")
    assert {name: own.n_structures for name, own in found.dynamics.items()} == {"gases": 3, "liquids": 3}
    assert found.verdict in assessed.output.replace("\n", " ")


def test_a_student_beats_one_that_predicts_no_force(assessed: Finished) -> None:
    last = json.loads((assessed.folder / "taught" / "assess.json").read_text())["curve"][-1]
    assert all(own["forces"] < 0.7 * own["zero_forces"] for own in last["family"].values())


def test_the_same_seed_gives_the_same_figures(assessed: Finished) -> None:
    one, same, other = (
        assess_dataset(
            assessed.folder / "taught" / "dataset.h5",
            assessed.folder / "asked" / "dataset.h5",
            budget=Budget(steps=3, femtoseconds=2, shares=(1.0,)),
            seed=seed,
        )
        for seed in (1, 1, 2)
    )
    assert without_times(one) == without_times(same) != without_times(other)


def without_times(found: Assessment) -> Assessment:
    return found.model_copy(update={"curve": [point.model_copy(update={"seconds": 0.0}) for point in found.curve]})


def test_the_page_and_the_card_show_it(assessed: Finished, tmp_path: Path) -> None:
    done = distillery("report", str(assessed.folder / "taught"), "--out", "page.html", cwd=tmp_path)
    assert done.returncode == 0, done.output
    page = (tmp_path / "page.html").read_text()
    assert 'id="chart-learning-forces"' in page
    assert page.count("help most") + page.count("help little") == 2


def test_a_probe_set_of_another_teacher_is_refused(assessed: Finished, tmp_path: Path) -> None:
    other = tmp_path / "other.h5"
    other.write_bytes((assessed.folder / "asked" / "dataset.h5").read_bytes())
    with h5py.File(other, "r+") as file:
        file["metadata"].attrs["teacher_version"] = "fake==2"
    with pytest.raises(Unsupported, match=r"fake==1.*fake==2"):
        assess_dataset(assessed.folder / "taught" / "dataset.h5", other)


def test_a_dataset_without_a_held_side_is_refused(assessed: Finished, tmp_path: Path) -> None:
    single = write_hydrocarbons(tmp_path, "single", 3, {"small": ("CH4",)}, 5)
    with pytest.raises(InvalidRequest, match="there are no structures on its"):
        assess_dataset(single, single)


def test_the_probe_sets_recipe_is_sound_and_named_by_the_teacher(assessed: Finished, tmp_path: Path) -> None:
    dataset = assessed.folder / "taught" / "dataset.h5"
    recipe = parse_recipe(json.dumps(make_probe_recipe(dataset)))
    assert recipe.elements == ("H", "C")
    assert {name: source.count for name, source in recipe.sources.items()} == {"crystals": 20, "molecules": 24, "slabs": 12}
    other = tmp_path / "other.h5"
    other.write_bytes(dataset.read_bytes())
    with h5py.File(other, "r+") as file:
        file["metadata"].attrs["teacher_version"] = "fake==2"
    assert make_probe_recipe(other)["name"] != recipe.name
    with open_dataset(dataset) as file:
        assert recipe.teacher == file["metadata"].attrs["teacher_model"]


def test_the_probe_is_never_written_over(tmp_path: Path) -> None:
    """Nor the assessment of another file beside it: each has a name of its own."""
    write_dataset(tmp_path / "one.h5", [water("t/0000")])
    write_dataset(tmp_path / "probe.h5", [water("t/0001")])
    content = (tmp_path / "probe.h5").read_bytes()
    done = distillery_here("assess", "one.h5", "--probe", "probe.h5", "--out", "probe.h5", "--force", cwd=tmp_path)
    assert "--out must be another file than probe.h5, which is read" in done.output
    assert (tmp_path / "probe.h5").read_bytes() == content
    (tmp_path / "one-assess.json").mkdir()
    assert "one-assess.json is a folder" in distillery_here("assess", "one.h5", "--probe", "probe.h5", cwd=tmp_path).output
