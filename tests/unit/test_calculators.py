"""Any ASE calculator as a teacher: its name, its safe making, its labels, and what becomes of a crash, a hang and an exception."""

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from tblite.ase import TBLite

from distillery.dataset.parts import read_part
from distillery.errors import Unavailable
from distillery.recipe.reading import parse_recipe
from distillery.schema.teacher_name import parse_calculator, write_teacher
from distillery.structures.structure import Structure, from_ase, numbers_of, to_ase
from labeller.app import create_labeller
from labeller.calculators.factory import make_calculator
from labeller.calculators.probe import probe_factory
from labeller.settings import LabellerSettings
from labeller.teachers import create_teacher, outline_teacher
from labeller.teachers.teacher import DIRECT, StructureFailed, Teacher
from tests.command import ROOT
from tests.fake_teacher import pair_label
from tests.labelling import NEVER, label, mixed, receipt, silicon, water
from tests.serving import serve

SCRIPTED = "ase:tests.calculators:Scripted"


def load(name: str, **settings: Any) -> Teacher:
    teacher = create_teacher(LabellerSettings(teacher=name, **settings))
    teacher.load(NEVER)
    return teacher


@pytest.fixture(scope="module")
def scripted() -> Iterator[Teacher]:
    teacher = load(SCRIPTED, structure_seconds=3.0)
    yield teacher
    teacher.close()


def with_atom(symbol: str) -> Structure:
    """Water with an atom of an element far from it."""
    whole = water(f"p-a-00000/{symbol}")
    return replace(
        whole,
        numbers=np.append(whole.numbers, numbers_of([symbol])),
        positions=np.vstack([whole.positions, whole.positions.max(axis=0) + 2.5]),
    )


# names


def test_a_name_is_written_in_one_way_whatever_the_spaces_quotes_and_order() -> None:
    once = write_teacher('ase:tblite.ase:TBLite( verbosity=0,method="GFN2-xTB" )')
    assert once == "ase:tblite.ase:TBLite(method='GFN2-xTB', verbosity=0)"
    assert write_teacher(once) == once
    assert write_teacher("ase:ase.calculators.emt:EMT()") == "ase:ase.calculators.emt:EMT"
    assert write_teacher("7net-0") == "7net-0"


def test_options_are_plain_literals_of_any_depth() -> None:
    name = parse_calculator("ase:a.b:C.make(x=[1, -2.5, (True, None)], y={'k': 'text'})")
    assert (name.module, name.factory) == ("a.b", "C.make")
    assert name.options == {"x": [1, -2.5, (True, None)], "y": {"k": "text"}}


@pytest.mark.parametrize(
    "name",
    [
        "ase:",
        "ase:emt",
        "ase:a:b:c",
        "ase:a b:c",
        "ase:a:b(1)",
        "ase:a:b(**{})",
        "ase:a:b(x=y)",
        "ase:a:b(x=__import__('os').system('id'))",
        "ase:a:b(x=1)(y=2)",
        "ase:a:b(x=1) + c(y=2)",
        "ase:a:b(x=1, x=2)",
        "ase:a:b(x=b'bytes')",
        "ase:a:b(x={1: 2})",
        "ase:a:b(x=1e999)",
        "ase:a:b(x=" + "(" * 300 + ")" * 300 + ")",
        f"ase:a:b(x='{'y' * 600}')",
        "ase:a:b(x=1",
    ],
)
def test_names_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"wanted is|plain literal|is named"):
        parse_calculator(name)


def test_a_recipe_takes_a_calculator_and_names_the_fault_of_one_that_is_none() -> None:
    text = "name: a\nseed: 1\nteacher: {}\nsources: {{m: {{service: rdkit, system: molecule, count: 1}}}}\n"
    assert parse_recipe(text.format('ase:a:b(x="y",  a=1)')).teacher == "ase:a:b(a=1, x='y')"
    with pytest.raises(Exception, match="recipe:3: teacher: a teacher that is an ASE calculator is named"):
        parse_recipe(text.format("ase:a"))


# making


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ase:os:system(command='touch here')", "os is of Python's own library, which makes no calculator"),
        ("ase:os.path:join", "os.path is of Python's own library, which makes no calculator"),
        ("ase:numpy:zeros", "does not say that it makes an ASE calculator"),
        ("ase:tests.calculators:make_anything", "does not say that it makes an ASE calculator"),
        ("ase:a_package_that_is_nowhere:EMT", "No module named 'a_package_that_is_nowhere'; install its package, or put the folder"),
        ("ase:ase.calculators.emt:ENT", "has no ENT; did you mean 'EMT'"),
        ("ase:tests.calculators:make_nothing", "made a NoneType, which is no calculator"),
    ],
)
def test_what_makes_no_calculator_is_refused_with_the_reason(name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Unavailable, match=re.escape(said)):
        make_calculator(parse_calculator(name))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("helper", "own:helper does not say that it makes an ASE calculator"),
        ("Broken.run", "own:Broken.run does not say that it makes an ASE calculator"),
        ("Mime", "own has no Mime; did you mean 'Mine'?"),
        ("Mine", ""),
        ("make", ""),
    ],
)
def test_what_makes_no_calculator_is_known_before_it_is_loaded(
    factory: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calculator = "from ase.calculators.emt import EMT\nclass Mine(EMT): pass\ndef make() -> EMT: return EMT()\n"
    (tmp_path / "own.py").write_text(calculator + "def helper(): pass\nclass Broken:\n    def run(self): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("labeller.calculators.probe.CPU_SECONDS", 60)  # as the tests' machines are busy
    monkeypatch.setattr("labeller.calculators.probe._WAIT_SECONDS", 300)
    if said:
        with pytest.raises(Unavailable, match=re.escape(said)):
            outline_teacher(f"ase:own:{factory}")
    else:
        assert outline_teacher(f"ase:own:{factory}").abilities.charge


def test_an_import_that_fails_is_told_and_a_long_one_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "endless.py").write_text("while True: pass\n")
    (tmp_path / "ill.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("labeller.calculators.probe._WAIT_SECONDS", 300)
    monkeypatch.setattr("labeller.calculators.probe.CPU_SECONDS", 60)
    with pytest.raises(Unavailable, match="ZeroDivisionError when it was imported"):
        probe_factory(parse_calculator("ase:ill:Mine"))
    monkeypatch.setattr("labeller.calculators.probe.CPU_SECONDS", 1)
    probe_factory(parse_calculator("ase:endless:Mine"))


def test_a_packages_own_calculators_get_no_ions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labeller.calculators.families.probe_factory", lambda name: None)
    for module in ("chgnet.model.dynamics", "sevenn.calculator"):
        assert not outline_teacher(f"ase:{module}:Anything").abilities.charge
    assert outline_teacher("ase:tblite.ase:TBLite").abilities.charge


@pytest.mark.parametrize(
    ("factory", "said"),
    [("Scripted(wait=1)", "unexpected keyword argument 'wait'"), ("make_trouble", "RuntimeError: the weights are not there")],
)
def test_what_the_making_raises_in_its_process_is_told(factory: str, said: str) -> None:
    with pytest.raises(Unavailable, match="could not be made") as problem:
        load(f"ase:tests.calculators:{factory}")
    assert said in problem.value.detail


def test_a_function_that_says_it_returns_a_calculator_makes_one_with_its_options() -> None:
    teacher = load("ase:tests.calculators:make_scripted(weight=2.0)")
    (found,) = teacher.predict([water("x")])
    teacher.close()
    assert found.energy == pytest.approx(2 * pair_label(water("x")).energy)


def test_other_options_files_and_own_modules_are_another_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> str:
        return create_teacher(LabellerSettings(teacher=name)).weights_sha256

    weights = tmp_path / "weights"
    weights.write_text("one")
    monkeypatch.syspath_prepend(str(tmp_path))
    own = tmp_path / "own_calculator.py"
    own.write_text("from ase.calculators.emt import EMT\n")
    named = f"ase:own_calculator:EMT(path={str(weights)!r})"
    found = [find(SCRIPTED), find(SCRIPTED + "(weight=2.0)"), find("ase:own_calculator:EMT"), find(named)]
    weights.write_text("two")
    found.append(find(named))
    own.write_text("from ase.calculators.emt import EMT  # changed\n")
    found.append(find("ase:own_calculator:EMT"))
    assert len(set(found)) == len(found)


# labels


def test_emt_labels_copper_as_ase_does_stress_included() -> None:
    teacher = load("ase:ase.calculators.emt:EMT")
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, rng=np.random.default_rng(1))
    (found,) = teacher.predict([from_ase(atoms, id="x", system="crystal")])
    teacher.close()
    atoms.calc = EMT()
    assert found.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    assert np.allclose(found.forces, atoms.get_forces(), atol=1e-5)
    assert found.stress is not None
    assert np.allclose(found.stress, atoms.get_stress(), atol=1e-9)
    assert teacher.version.startswith("ase==")


def test_gfn2_xtb_labels_molecules_as_tblite_does_and_refuses_crystals_by_name(tmp_path: Path) -> None:
    settings = LabellerSettings(teacher="gfn2-xtb", data=tmp_path, self_test=False, workers=2)
    with serve(create_labeller(create_teacher(settings), settings)) as url, httpx.Client(base_url=url, timeout=120) as client:
        answer = receipt(client, "p-a-00000", mixed("p-a-00000", 3), elements=["H", "O"])
        card = client.get("/v1/metadata").json()["teacher"]
    assert [(reject["reason"], reject["detail"]) for reject in answer["rejected"]] == [
        ("beyond_teacher", "the teacher labels molecules and clusters alone, this is a crystal")
    ]
    assert card["version"].startswith("tblite==")
    assert card["abilities"] == {"stress": False, "periodic": False, "charge": True, "spin": True, "atomic_energies": True}
    assert answer["isolated_atoms"].keys() == {"H", "O"}
    atoms = to_ase(mixed("p-a-00000", 1)[0])
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    part = read_part(tmp_path / "d" / "parts" / "p-a-00000.h5").arrays
    assert part["labels/energy"][0] == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
    assert np.allclose(part["labels/forces"][:3], atoms.get_forces(), atol=1e-4)
    assert not part["labels/stress_mask"].any()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mace:model.pt", "mace; `pip install 'distillery[mace]'`"),
        ("mace-mp-small", "mace; `pip install 'distillery[mace]'`"),
        ("mattersim-v1-1m", "mattersim; `pip install 'distillery[mattersim]'`"),
        ("nequip:model.pt2", "nequip; `pip install 'distillery[nequip]'`"),
        ("uma-s-1p2:omol", "fairchem; `pip install 'distillery[uma]'`"),
        ("gfn2-xtb", "tblite; `pip install 'distillery[xtb]'`"),
        ("7net-0", "sevenn, torch; `pip install 'distillery[7net]'`"),
    ],
)
def test_a_family_whose_package_is_missing_says_so_in_one_line(name: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labeller.teachers.find_spec", lambda package: None)
    with pytest.raises(
        Unavailable, match=re.escape(f"{name} needs a package that is not installed here: {said}, or run the labeller as a container")
    ):
        outline_teacher(name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ase:no_such_package.sub:X", "the module no_such_package.sub, which can't be imported here: there is no no_such_package; install"),
        ("ase:ase.calculators.no_such:X", "which can't be imported here: No module named 'ase.calculators.no_such'"),
        ("ase:ase.calculators.lj:LenardJones", "has no LenardJones; did you mean 'LennardJones'?"),
        ("ase:ase.build:molecule", "does not say that it makes an ASE calculator"),
    ],
)
def test_a_calculator_that_there_is_not_is_found_before_anything_is_loaded(name: str, said: str) -> None:
    with pytest.raises(Unavailable, match=re.escape(said)):
        outline_teacher(name)


@pytest.mark.parametrize("name", ["uma-s-1p2", "uma-s-1p2:water", "mace-anything", "mace-mp"])
def test_names_of_families_that_say_too_little_are_refused(name: str) -> None:
    with pytest.raises(Unavailable, match=r"as (uma|mace)-"):
        create_teacher(LabellerSettings(teacher=name))


def test_a_calculator_says_what_it_can_not_do() -> None:
    teacher = load("ase:tests.calculators:MoleculesOnly")
    teacher.close()
    assert teacher.elements == ("H", "C", "O")
    assert not teacher.abilities.periodic
    assert not teacher.abilities.stress
    assert teacher.tolerance == DIRECT


@pytest.mark.parametrize(
    ("symbol", "reason", "said"),
    [
        ("N", "teacher_failed", "ValueError: nitrogen is"),
        ("P", "teacher_crashed", "its process ended with 7: phosphorus is the end"),
        ("S", "teacher_crashed", "its process was killed by SIGSEGV"),
        ("Cl", "teacher_timeout", "no answer within 3 s"),
    ],
)
def test_a_failure_costs_its_structure_alone_and_the_process_is_replaced(scripted: Teacher, symbol: str, reason: str, said: str) -> None:
    with pytest.raises(StructureFailed) as failed:
        scripted.predict([with_atom(symbol)])
    assert failed.value.reason == reason
    assert said in failed.value.detail
    (found,) = scripted.predict([silicon("x")])
    assert found.energy == pytest.approx(pair_label(silicon("x")).energy)


def test_a_hang_ends_with_the_labeller() -> None:
    stop = threading.Event()
    teacher = create_teacher(LabellerSettings(teacher=SCRIPTED))
    teacher.load(stop)
    threading.Timer(0.5, stop.set).start()
    start = time.monotonic()
    with pytest.raises(Unavailable, match="shutting down"):
        teacher.predict([with_atom("Cl")])
    assert time.monotonic() - start < 60, "not the ten minutes that a structure may take"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[httpx.Client]:
    settings = LabellerSettings(teacher=SCRIPTED, data=tmp_path, self_test=False, structure_seconds=3.0, workers=2)
    with serve(create_labeller(create_teacher(settings), settings)) as url, httpx.Client(base_url=url, timeout=120) as client:
        yield client


def test_a_part_with_a_crash_a_hang_and_an_exception_loses_those_and_counts_them(client: httpx.Client, tmp_path: Path) -> None:
    bad = [with_atom(symbol) for symbol in ("N", "P", "S", "Cl")]
    answer = receipt(client, "p-a-00000", [*mixed("p-a-00000", 6), *bad])
    assert answer["n_structures"] == 6
    assert {reject["id"][-2:].strip("/"): reject["reason"] for reject in answer["rejected"]} == {
        "N": "teacher_failed",
        "P": "teacher_crashed",
        "S": "teacher_crashed",
        "Cl": "teacher_timeout",
    }
    part = read_part(tmp_path / "d" / "parts" / "p-a-00000.h5")
    energies = [pair_label(structure).energy for structure in mixed("p-a-00000", 6)]
    assert np.allclose(part.arrays["labels/energy"], energies)
    assert {structure.id for structure in part.quarantined} == {structure.id for structure in bad}


def test_a_teacher_that_is_not_there_any_more_fails_the_request_and_blames_no_structure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "going_calculator.py"
    module.write_text("from tests.calculators import Scripted\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = LabellerSettings(teacher="ase:going_calculator:Scripted", data=tmp_path, self_test=False, workers=2)
    app = create_labeller(create_teacher(settings), settings)
    with serve(app) as url, httpx.Client(base_url=url, timeout=120) as client:
        module.write_text("raise ImportError('no licence today')\n")
        crash = receipt(client, "p-a-00000", [with_atom("P")])
        assert crash["rejected"][0]["reason"] == "teacher_crashed"
        again = label(client, "p-b-00000", [water("p-b-00000/0000")])
        assert again.status_code == 503
        assert "no licence today" in again.json()["detail"]
    assert not (tmp_path / "d" / "parts" / "p-b-00000.h5").exists()


def test_the_ten_lines_of_the_labellers_page_label_metals_and_refuse_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "labeller" / "README.md").read_text().split("## Any ASE calculator")[1]
    (code,), (recipe,) = (re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL) for language in ("python", "yaml"))
    assert len(code.strip().splitlines()) <= 10
    (tmp_path / "my_teacher.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    parsed = parse_recipe(recipe)
    teacher = load(parsed.teacher)
    copper = from_ase(bulk("Cu", cubic=True), id="x", system="crystal")
    (found,) = teacher.predict([copper])
    teacher.close()
    assert set(parsed.elements) < set(teacher.elements)
    assert "Si" not in teacher.elements
    atoms = to_ase(copper)
    atoms.calc = EMT()
    assert found.energy == pytest.approx(atoms.get_potential_energy())
