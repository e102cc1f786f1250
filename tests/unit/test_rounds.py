"""Which student the rounds of `distillery grow` have, and that a dataset without a known teacher can't grow."""

from pathlib import Path

import numpy as np
import pytest

from cli.rounds import Growing, make_student, read_teacher
from distillery.dataset.reading import read_dataset
from distillery.errors import InvalidRequest
from tests.dataset_folder import write_finished
from tests.datasets import write_dataset
from tests.labelling import mixed


def test_a_student_may_be_made_of_the_dataset_so_far(tmp_path: Path) -> None:
    """With or without `ase:` before its name."""
    now = tmp_path / "so far.h5"
    for before in ("", "ase:"):
        student, name = make_student({"student": before + "ase.calculators.lj:LennardJones(note='{dataset}', sigma=2.5)"}, now)
        assert student.parameters["note"] == str(now)
        assert student.parameters["sigma"] == 2.5
        assert name == before + "ase.calculators.lj:LennardJones(note='{dataset}', sigma=2.5)"


def test_without_one_a_small_student_learns_from_the_training_side(tmp_path: Path) -> None:
    pytest.importorskip("nequip", reason="needs nequip: pip install 'distillery[assess]'")
    path = write_finished(tmp_path / "pictured")
    student, _ = make_student({"student": "", "seed": 0, "budget": 2}, path)
    atoms = next(read_dataset(path))
    atoms.calc = student
    assert atoms.get_forces().shape == (len(atoms), 3)
    assert np.isfinite(atoms.get_forces()).all()


def test_a_dataset_that_does_not_say_who_labelled_it_can_not_grow(tmp_path: Path) -> None:
    write_dataset(tmp_path / "d.h5", mixed("t", 3))
    with pytest.raises(InvalidRequest, match="does not say who labelled it"):
        read_teacher(tmp_path / "d.h5")


def test_what_was_asked_before_is_named_where_it_differs(tmp_path: Path) -> None:
    path = write_finished(tmp_path / "pictured")
    asked = {"n": 4, "seed": 0, "student": ""}
    Growing(path, tmp_path / "d.rounds", asked, "").begin()
    Growing(path, tmp_path / "d.rounds", dict(asked), "").begin()
    with pytest.raises(InvalidRequest, match=r"another request \(n, student\)"):
        Growing(path, tmp_path / "d.rounds", {**asked, "n": 5, "student": "a:b"}, "").begin()
    other = write_finished(tmp_path / "other", (path.parent / "recipe.yaml").read_text().replace("name: pictured", "name: other"))
    with pytest.raises(InvalidRequest, match=r"another request \(sha256\)"):
        Growing(other, tmp_path / "d.rounds", asked, "").begin()
