"""`distillery label`: files of every kind in one command, by the real teacher; and the recipe that it writes."""

import json
import re
from pathlib import Path

import h5py
import pytest
from ase.build import bulk, molecule
from rich.console import Console

from cli.label import _tell
from distillery.recipe.reading import parse_recipe
from distillery.verify.verification import verify_dataset
from services.structures.survey import Survey
from tests.command import ROOT, distillery
from tests.consumers.trial import run_command
from tests.input_files import crystals, write_crystal_files, write_frames

ION = molecule("NH3", info={"charge": 1})


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CIF, a POSCAR, four molecules and an ion, and in a folder two crystals more."""
    folder = tmp_path_factory.mktemp("inputs")
    write_crystal_files(folder)
    write_frames(folder / "molecules.extxyz.gz", [*(molecule(name) for name in ("H2O", "CH4", "NH3", "CH3OH")), ION])
    (folder / "more").mkdir()
    write_frames(folder / "more" / "moved.xyz", crystals(2))
    return folder


def test_files_of_every_kind_become_a_dataset_with_a_verdict_that_can_be_verified(inputs: Path, tmp_path: Path) -> None:
    done = distillery("label", str(inputs), "--out", "mine", "--rattle", "0.08", "--copies", "2", cwd=tmp_path)
    assert done.returncode == 0, done.output
    assert "4 molecules, 4 crystals of 3-8 atoms of H C N O Si" in done.output
    assert "left out: 1 of 9 rows: 1 charged\n  molecules.extxyz.gz: charged: row 4\n" in done.output
    assert "GO  16 of 16 structures" in done.output
    report = json.loads((tmp_path / "data" / "mine" / "report.json").read_text())
    assert report["sources"]["molecules"]["rejected"] == {"generation: charged": 1}
    with h5py.File(tmp_path / "data" / "mine" / "dataset.h5") as file:
        origins = [json.loads(origin) for origin in file["provenance/origin"].asstr()]
    assert {origin["file"] for origin in origins} == {"POSCAR_silicon", "carbide.cif", "molecules.extxyz.gz", "more/moved.xyz"}
    assert [check for check in verify_dataset(tmp_path / "data" / "mine" / "dataset.h5") if check.passed is False] == []


@pytest.mark.parametrize("licence", ["CC0-1.0", "mine\nseed: 5"])
def test_a_dry_run_prints_a_recipe_and_makes_nothing(inputs: Path, tmp_path: Path, licence: str) -> None:
    done = distillery("label", str(inputs / "more"), "--out", "mine", "--relax", "3", "--licence", licence, "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.output
    recipe = parse_recipe(done.output[done.output.index("# made by") :])
    assert recipe.counts() == {"crystals": 2}
    assert recipe.elements == ("C", "Si")
    assert recipe.sample is not None
    assert recipe.sources["crystals"].options["licence"] == licence
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("teacher", "flags", "n"),
    [("gfn2-xtb", [], 2), ("gfn2-xtb", ["--neutral"], 1), ("7net-0", [], 1), ("ase:ase.calculators.lj:LennardJones", [], 1)],
)
def test_ions_are_labelled_where_the_teacher_knows_of_charge_unless_they_are_not_wanted(
    tmp_path: Path, teacher: str, flags: list[str], n: int
) -> None:
    write_frames(tmp_path / "own.xyz", [molecule("NH3", info={"charge": 1, "spin": 2}), molecule("H2O")])
    done = distillery("label", "own.xyz", "--out", "mine", "--teacher", teacher, *flags, "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.output
    recipe = parse_recipe(done.output[done.output.index("# made by") :])
    assert recipe.counts() == {"molecules": n}
    assert ("charges" in recipe.sources["molecules"].options) is (n == 2)
    assert ("--neutral" in done.output.splitlines()[0]) is bool(flags)


def test_one_is_told_in_the_singular_and_one_size_once(capsys: pytest.CaptureFixture[str]) -> None:
    _tell(Survey({"molecule": 1, "surface": 2}, ("H", "O"), (3, 3), "", 3, {}, {}), Console())
    assert capsys.readouterr().out == "1 molecule, 2 surfaces of 3 atoms of H O\n"


def test_what_is_periodic_is_left_out_by_name_where_the_teacher_labels_molecules_alone(inputs: Path, tmp_path: Path) -> None:
    done = distillery("label", str(inputs), "--out", "mine", "--teacher", "gfn2-xtb", cwd=tmp_path)
    assert "5 molecules of 3-6 atoms of H C N O\n" in done.output
    assert "left out: 4 of 9 rows: 4 beyond_teacher\n" in done.output
    assert "\n  more/moved.xyz: beyond_teacher: row 0-1\n" in done.output
    assert "4 of 5 structures" in done.output  # the ion has an odd number of electrons and does not say so


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = distillery("label", "missing.cif", "--out", "mine", cwd=tmp_path)
    assert done.returncode == 1
    assert "there is no file or folder missing.cif" in done.output


def test_files_without_any_usable_row_are_refused_at_once(tmp_path: Path) -> None:
    write_frames(tmp_path / "ion.xyz", [ION])
    done = distillery("label", "ion.xyz", "--out", "mine", cwd=tmp_path)
    assert done.returncode == 1
    assert "no row of the 1 files can be labelled: ion.xyz: charged: row 0" in done.output


def test_the_page_says_what_the_command_says() -> None:
    page = (ROOT / "docs" / "own-structures.md").read_text()
    for option in ("--out", "--teacher", "--rattle", "--strain", "--copies", "--relax", "--licence", "--neutral", "--seed"):
        assert f"`{option}`" in page


def test_cifs_become_a_trained_student_by_the_three_lines_of_the_page(tmp_path: Path) -> None:
    """Sixteen salts, fewer copies, a smaller student and two epochs."""
    salts = {"LiF": 4.03, "LiCl": 5.13, "NaF": 4.62, "NaCl": 5.64, "KF": 5.34, "KCl": 6.29, "MgO": 4.21, "CaO": 4.81}
    salts |= {"MgS": 5.20, "CaS": 5.69, "LiH": 4.08, "NaH": 4.88, "KH": 5.70, "SrO": 5.16, "BaO": 5.52, "SrS": 6.02}
    (tmp_path / "cifs").mkdir()
    for name, a in salts.items():
        bulk(name, "rocksalt", a=a, cubic=True).write(tmp_path / "cifs" / f"{name}.cif")
    section = (ROOT / "docs" / "own-structures.md").read_text().split("## From CIFs to a student")[1]
    label, export, train = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)[0].splitlines()
    done = distillery(*label.replace("--copies 8", "--copies 2").split()[1:], cwd=tmp_path)
    assert done.returncode == 0, done.output
    done = distillery(*export.split()[1:], cwd=tmp_path)
    assert done.returncode == 0, done.output
    path = tmp_path / "data" / "cifs-chgnet" / "dataset-nequip" / "nequip.yaml"
    text = path.read_text()
    for whole, small in {
        "max_epochs: 200": "max_epochs: 2",
        "num_features: 32": "num_features: 4",
        "num_layers: 3": "num_layers: 1",
    }.items():
        assert text.count(whole) == 1
        text = text.replace(whole, small)
    path.write_text(text)
    assert "TEST RUN END" in run_command(["bash", "-c", train], tmp_path)
    assert list(path.parent.glob("outputs/**/best.ckpt"))
