"""Teachers by name: families found by entry points, this repository's own and those of other packages."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from distillery.errors import Unavailable
from labeller.calculators import families as calculators
from labeller.settings import LabellerSettings
from labeller.teachers import GROUP, create_teacher, list_teachers
from labeller.teachers.families import CHGNET, ORB, SEVENNET
from labeller.teachers.teacher import TeacherFamily
from tests.fake_teacher import FakeTeacher

MODULE = """
from labeller.teachers.teacher import TeacherFamily
from tests.fake_teacher import FakeTeacher

def create(name, settings):
    return FakeTeacher(name=name)

def fail(name, settings):
    import a_package_that_is_nowhere

OPEN = TeacherFamily(("own",), create, prefix="own:")
HEAVY = TeacherFamily(("heavy",), fail)
TWIN = TeacherFamily(("7net-0",), create)
NUMBER = 7

def expire(name, settings):
    raise ValueError("the licence has expired")

UNMADE = TeacherFamily(("unmade",), expire)
"""


BUILT_IN = [*ORB.names, *SEVENNET.names, *CHGNET.names, *calculators.XTB.names, *calculators.MATTERSIM.names]
BUILT_IN += ["ase:…", "mace-…", "mace:…", "nequip:…", "uma-…"]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another package, which brings families, one of them broken and one no family at all."""
    info = tmp_path / "other-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    lines = (
        "open = other_teachers:OPEN",
        "heavy = other_teachers:HEAVY",
        "gone = other_teachers_gone:GONE",
        "number = other_teachers:NUMBER",
        "angry = other_teachers_angry:ANGRY",
        "leaving = other_teachers_leaving:LEAVING",
        "unmade = other_teachers:UNMADE",
    )
    (info / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines, ""]))
    (tmp_path / "other_teachers.py").write_text(MODULE)
    (tmp_path / "other_teachers_angry.py").write_text("raise RuntimeError('no licence file')")
    (tmp_path / "other_teachers_leaving.py").write_text("import sys; sys.exit(3)")
    monkeypatch.syspath_prepend(str(tmp_path))


def create(name: str) -> object:
    return create_teacher(LabellerSettings(teacher=name))


def test_the_repositorys_own_families_come_by_the_same_door() -> None:
    families = {entry.name: entry.load() for entry in entry_points(group=GROUP)}
    own = {name.lower().replace("_", "-"): family for name, family in vars(calculators).items() if isinstance(family, TeacherFamily)}
    assert families == {"sevennet": SEVENNET, "orb": ORB, "chgnet": CHGNET, **own}


def test_an_unknown_name_is_refused_with_the_nearest_known_one_and_torch_is_not_imported() -> None:
    code = """
import sys
from distillery.errors import Unavailable
from labeller.settings import LabellerSettings
from labeller.teachers import create_teacher
try:
    create_teacher(LabellerSettings(teacher="7net0"))
except Unavailable as problem:
    print(problem.detail, "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "unknown teacher '7net0'; did you mean '7net-0'? False\n", done.stderr


@pytest.mark.usefixtures("install")
@pytest.mark.parametrize("name", ["own", "own:anything"])
def test_a_family_of_another_package_makes_its_names_and_all_that_begin_as_it_says(name: str) -> None:
    made = create(name)
    assert isinstance(made, FakeTeacher)
    assert made.name == name


@pytest.mark.usefixtures("install")
def test_all_names_are_listed_and_a_broken_family_is_told_of_and_hides_no_other(caplog: pytest.LogCaptureFixture) -> None:
    assert list_teachers() == sorted([*BUILT_IN, "own", "own:…", "heavy", "unmade"])
    assert "gone = other_teachers_gone:GONE are left out: ModuleNotFoundError: No module named 'other_teachers_gone'" in caplog.text
    assert "number = other_teachers:NUMBER are left out: TypeError: it must name a TeacherFamily, it is int" in caplog.text
    assert "angry = other_teachers_angry:ANGRY are left out: RuntimeError: no licence file" in caplog.text
    assert "leaving = other_teachers_leaving:LEAVING are left out: SystemExit: 3" in caplog.text


@pytest.mark.usefixtures("install")
def test_what_a_family_lacks_is_named() -> None:
    with pytest.raises(
        Unavailable, match=r"heavy needs a package .*: No module named 'a_package_that_is_nowhere'; install what other asks for, or run"
    ):
        create("heavy")


@pytest.mark.usefixtures("install")
def test_a_family_that_can_make_no_teacher_is_named_with_its_words() -> None:
    with pytest.raises(Unavailable, match="unmade can't be made: unmade of other fails: ValueError: the licence has expired"):
        create("unmade")


@pytest.mark.usefixtures("install")
def test_a_name_that_two_families_know_is_refused(tmp_path: Path) -> None:
    points = tmp_path / "other-1.0.dist-info" / "entry_points.txt"
    points.write_text(f"[{GROUP}]\ntwin = other_teachers:TWIN\n")
    with pytest.raises(Unavailable, match="'7net-0' is offered by sevennet of distillery and twin of other"):
        create("7net-0")


def test_a_checkout_that_is_not_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labeller.teachers.entry_points", lambda group: ())
    with pytest.raises(Unavailable, match="install it with pip"):
        create("7net-0")
