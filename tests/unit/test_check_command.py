"""`distillery check`: what can't be made is told before anything is loaded, each fault at its line, and leaves nothing behind."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from cli.check import InstalledMakers
from distillery.errors import NotFound, Unavailable
from distillery.generators.plugins import build_generator
from distillery.planning.recipe_checks import check_recipe
from distillery.recipe.reading import parse_recipe
from distillery.schema.dataset import RecipeCheck
from distillery.schema.generate import GenerateRequest, RequestCheck
from tests.command import ROOT, distillery_here

BAD = """\
name: bad
seed: 42
elements: [H, C, N, O, Po]
teacher: 7net-1
shard_size: 900
sources:
  unknown: {service: rdkitt, system: molecule, count: 10}
  options: {service: rdkit, system: molecule, count: 10, atoms: [10, 600], options: {torsion: 1, conformers: 0}}
  system:
    service: pymatgen
    system: molecule
    count: 10
  many:
    service: ase
    system: cluster
    count: 900
    options: {kinds: [nothing]}
"""
FAULTS = [
    (4, "teacher", "unknown teacher '7net-1'; did you mean '7net-0'?"),
    (5, "shard_size", "makes at most 500 structures in one request, got n = 900"),
    (7, "sources.unknown.service", "did you mean 'rdkit'?"),
    (8, "sources.options.atoms", "5-200 atoms, asked for 10-600"),
    (8, "sources.options.elements", "rdkit cannot make Po"),
    (8, "sources.options.options.conformers", "greater than or equal to 1; got 0"),
    (8, "sources.options.options.torsion", "did you mean 'torsions'?"),
    (11, "sources.system.system", "pymatgen cannot make a molecule; it makes crystal"),
    (13, "sources.many.elements", "ase cannot make Po"),
    (17, "sources.many.options.kinds", "must be a mapping; got ['nothing']"),
]
LIGHT = """
import sys
from pathlib import Path
from cli.check import require_sound
from distillery.recipe.reading import read_recipe
path = Path(sys.argv[1])
require_sound(path, *read_recipe(path), None)
assert not {"torch", "sevenn", "fastapi"} & set(sys.modules)
"""

ALL_SERVICES = """
import sys
from distillery.generators.plugins import build_generator, list_services
for name in list_services():
    build_generator(name).metadata
assert "torch" not in sys.modules
"""


@pytest.mark.parametrize("command", [("check",), ("run",), ("run", "--dry-run")])
def test_every_fault_is_told_at_its_line_before_anything_is_made(tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "bad.yaml").write_text(BAD)
    done = distillery_here(*command, "bad.yaml", cwd=tmp_path)
    assert done.returncode == 1, done.output
    lines = done.output.removeprefix("Invalid request.\n").splitlines()
    assert len(lines) == len(FAULTS), done.output
    for line, key, message in FAULTS:
        (found,) = (text for text in lines if text.startswith(f"bad.yaml:{line}: {key}: "))
        assert message in found
    assert [path.name for path in tmp_path.iterdir()] == ["bad.yaml"]


def test_the_quickstart_can_be_made_and_finding_that_out_loads_neither_torch_nor_a_web_framework(tmp_path: Path) -> None:
    done = distillery_here("check", str(ROOT / "recipes" / "quickstart.yaml"), cwd=tmp_path)
    assert "can be made: 480 structures of 4 sources, teacher 7net-0" in done.output, done.output
    subprocess.run([sys.executable, "-c", LIGHT, ROOT / "recipes" / "quickstart.yaml"], check=True, cwd=tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_generative_models_need_is_not_imported_before_they_are_loaded() -> None:
    subprocess.run([sys.executable, "-c", ALL_SERVICES], check=True, cwd=ROOT)


def test_a_model_without_its_packages_is_refused_before_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distillery.generators.models.sampling.find_spec", lambda name: None if name == "easydict" else True)
    with pytest.raises(Unavailable, match="moldiff needs a package that is not installed here: No module named 'easydict'"):
        build_generator("moldiff")


class Absent(InstalledMakers):
    """Makers of whom one service is not there."""

    def __init__(self, problem: Exception) -> None:
        super().__init__()
        self._problem = problem

    async def check_request(self, service: str, request: GenerateRequest) -> RequestCheck:
        if service == "mattergen":
            raise self._problem
        return RequestCheck(faults=())


RECIPE = """\
name: stand_ins
seed: 1
teacher: 7net-0
sources:
  real: {service: pymatgen, system: crystal, count: 5}
  generated: {service: mattergen, system: crystal, count: 5, fallback: real}
"""


def check(text: str, problem: Exception) -> RecipeCheck:
    return asyncio.run(check_recipe(parse_recipe(text), text, Absent(problem)))


def test_a_service_that_others_stand_in_for_may_be_away_but_must_exist() -> None:
    found = check(RECIPE, Unavailable("it is away"))
    assert (found.faults, found.notes) == ([], ["source generated: it is away; real will stand in"])
    found = check(RECIPE.replace(", fallback: real", ""), Unavailable("it is away"))
    assert [(fault.line, fault.key) for fault in found.faults] == [(6, "sources.generated.service")]
    found = check(RECIPE, NotFound("there is none"))
    assert [(fault.key, fault.message) for fault in found.faults] == [("sources.generated.service", "there is none")]


def test_an_element_that_the_teacher_does_not_know_is_told_where_the_elements_are() -> None:
    found = check(RECIPE + "elements: [C, Po]\n", Unavailable("away"))
    assert [(fault.line, fault.key) for fault in found.faults] == [(7, "elements")]
    assert "7net-0 does not know Po" in found.faults[0].message
