"""The labeller's images of one family of teachers each: small where there is no torch, and its teacher labels with its physics tried."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.containers.engine import find_lack, inspect_image, read_config, run_in
from tests.containers.project import Dataset, Project, running

RECIPE = """\
name: {family}
seed: 5
teacher: {teacher}
elements: [H, C, N, O, Si, P, S, Cl]
shard_size: 6
perturb: {{rattle: 0.03}}
sources:
  some: {source}
"""


@dataclass(frozen=True)
class Family:
    """A folder of labeller/extras that has been built into an image, a teacher of it, and what is asked of that.

    largest_mb  size budget, 10^6 bytes
    laws        that its self-test tries
    """

    name: str
    teacher: str
    service: str
    source: str
    largest_mb: int
    laws: frozenset[str]


_ALL = frozenset({"repeat", "rotation", "translation", "permutation", "forces", "extensivity", "stiffness"})
FAMILIES = [
    Family("xtb", "gfn2-xtb", "rdkit", "{service: rdkit, system: molecule, count: 12, atoms: [6, 14]}", 1000, _ALL),
    Family("chgnet", "chgnet", "ase", "{service: ase, system: surface, count: 12, atoms: [8, 24]}", 7500, _ALL | {"stress"}),
]


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.name)
def family(request: pytest.FixtureRequest, engine: None) -> Family:
    """Skipped, in CI too, where its image was not built of this checkout: these are not among those that everybody needs."""
    chosen: Family = request.param
    if lack := find_lack(name_image(chosen)):
        pytest.skip(f"{lack}: DISTILLERY_LABELLER_FAMILY={chosen.name} docker/build-airgapped.sh labeller")
    return chosen


def name_image(family: Family) -> str:
    config = read_config("compose.yaml", env={"DISTILLERY_LABELLER_FAMILY": family.name})
    return str(config["services"]["labeller"]["image"])


@pytest.fixture
def project(family: Family) -> Iterator[Project]:
    """Gateway, labeller and one service."""
    env = {"DISTILLERY_LABELLER_FAMILY": family.name, "DISTILLERY_TEACHER": family.teacher, "DISTILLERY_DEVICE": "cpu"}
    with running(f"distillery-{family.name}", "gateway", "labeller", family.service, env=env) as project:
        yield project


def test_it_holds_its_family_alone(family: Family) -> None:
    image = name_image(family)
    assert inspect_image(image)["Size"] < family.largest_mb * 10**6
    look = "from importlib.util import find_spec; print(*filter(find_spec, ('tblite', 'chgnet', 'sevenn', 'orb_models', 'torch')))"
    assert run_in(image, f'python -c "{look}"').split() == {"xtb": ["tblite"], "chgnet": ["chgnet", "torch"]}[family.name]


def test_its_teacher_labels_over_http_with_its_physics_tried(family: Family, project: Project) -> None:
    ask = "import httpx; print(httpx.get('http://127.0.0.1:8000/v1/metadata').text)"
    card: dict[str, Any] = json.loads(project.execute("labeller", f'python -c "{ask}"'))
    assert card["teacher"]["name"] == family.teacher
    assert {check["law"] for check in card["self_test"] if check["passed"] is not None} == family.laws
    assert [check["detail"] for check in card["self_test"] if check["passed"] is False] == []
    dataset = Dataset(project, RECIPE.format(family=family.name, teacher=family.teacher, source=family.source))
    status = dataset.make()
    assert status["state"] == "finished"
    report = httpx.get(f"{project.url}/v1/datasets/{family.name}/files/report.json", timeout=60).raise_for_status().json()
    assert report["teacher"]["self_test"]["broken"] == []
    (physics,) = [gate for gate in report["gates"] if gate["gate"] == "teacher_physics" and gate["scope"] == "all"]
    assert physics["passed"]
    assert report["sources"]["some"]["kept"] == 12
    assert report["verdict"] == "GO", [gate for gate in report["gates"] if gate["required"] and not gate["passed"]]
