"""The Dockerfiles: one for all services, the same habits in all, and shared stages that are the same lines. Needs no engine."""

import importlib
import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest
import yaml

from distillery.generators.models.upstream import digest_upstream
from tests.containers.engine import PACKAGES, ROOT, SERVICES
from tests.upstream import CHECKED_OUT, MODELS, require_upstream

SERVICES_DOCKERFILE = ROOT / "services" / "Dockerfile"
DOCKERFILES = [ROOT / "gateway" / "Dockerfile", ROOT / "labeller" / "Dockerfile", SERVICES_DOCKERFILE]
BUILDS = {name: service["build"] for name, service in yaml.safe_load((ROOT / "compose.yaml").read_text())["services"].items()}


@pytest.fixture(params=DOCKERFILES, ids=lambda path: path.parent.name)
def dockerfile(request: pytest.FixtureRequest) -> str:
    path: Path = request.param
    return path.read_text()


def read_names(path: Path) -> list[str]:
    """The packages of a requirements.txt."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return [re.split(r"[\s;=<>\[]", line)[0] for line in lines]


def joined(text: str) -> list[str]:
    """Instructions, continued lines as one, without comments."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    return [re.sub(r" +", " ", line) for line in re.sub(r"\\\n", " ", lines).splitlines() if line]


def shared_blocks(text: str) -> dict[str, str]:
    """The text between `shared` marks by name."""
    return dict(re.findall(r"^# shared: (\w+)\n(.*?)^# end of shared: \1$", text, re.MULTILINE | re.DOTALL))


def reached(text: str, **arguments: str) -> dict[str, list[str]]:
    """The stages that a build with these arguments needs, by name, the last one as `""`; each with its instructions after FROM."""
    stages: dict[str, tuple[str, list[str]]] = {}
    for line in joined(text):
        if line.startswith("FROM "):
            parent, _, name = expand(line.removeprefix("FROM "), arguments).partition(" AS ")
            stages[name] = (parent, [])
        elif stages:
            stages[next(reversed(stages))][1].append(line)
    needed, found = [""], dict[str, list[str]]()
    while needed:
        name = needed.pop()
        if name in stages and name not in found:
            parent, found[name] = stages[name]
            needed += [parent, *re.findall(r"from=([\w-]+)", "\n".join(found[name]))]
    return found


def expand(text: str, arguments: dict[str, str]) -> str:
    """Text with the values of arguments for ${NAME}."""
    return re.sub(r"\$\{(\w+)\}", lambda match: arguments[match[1]], text)


def test_every_folder_of_services_is_an_entry_point_of_its_name() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert sorted(project["entry-points"]["distillery.services"]) == SERVICES


def test_there_is_one_dockerfile_for_all_services() -> None:
    found = [path for folder in PACKAGES for path in (ROOT / folder).rglob("Dockerfile*")]
    assert sorted(found) == DOCKERFILES


def test_shared_stages_are_the_same_lines_everywhere() -> None:
    blocks = [block for path in DOCKERFILES for block in shared_blocks(path.read_text()).items()]
    assert {name for name, _ in blocks} == {"image", "torch"}
    assert len(set(blocks)) == 2


def test_all_images_share_the_layers_of_the_library_and_the_project(dockerfile: str) -> None:
    assert "image" in shared_blocks(dockerfile)


def choose_kind(name: str) -> str | None:
    """How a service's image is built: a model with upstream's checkout or with a package, or none."""
    return "model" if name in CHECKED_OUT else "packaged" if name in MODELS else None


def test_every_image_with_torch_takes_the_shared_layers_and_no_other_builds_them() -> None:
    for name in SERVICES:
        stages = reached(SERVICES_DOCKERFILE.read_text(), KIND=choose_kind(name) or "service")
        assert ("torch" in stages) == (name in MODELS), name
        assert ("upstream" in stages) == (name in CHECKED_OUT), name
        assert ("requirements-model" in stages) == (name in MODELS), name
        own = (ROOT / "services" / name / "requirements.txt").read_text().split()
        assert name in MODELS or "torch" not in own, name
    assert "torch" in reached_labeller("default")
    assert "torch" not in reached((ROOT / "gateway" / "Dockerfile").read_text())


def reached_labeller(family: str) -> dict[str, list[str]]:
    return reached((ROOT / "labeller" / "Dockerfile").read_text(), TEACHER=family)


PINNED = {requirement.split("==")[0] for requirement in (ROOT / "constraints.txt").read_text().splitlines()}
EXTRAS = {path.parent.name: read_names(path) for path in sorted((ROOT / "labeller" / "extras").glob("*/requirements.txt"))}
FAMILIES = [name for name, needed in EXTRAS.items() if set(needed) <= PINNED]
"""Those whose packages are pinned, all together: others have environments of their own."""


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_of_teachers_has_an_image_with_its_own_requirements_and_torch_if_it_needs_it(family: str) -> None:
    stages = reached_labeller(family)
    assert stages["requirements-family"] == ["ARG TEACHER", "COPY labeller/extras/${TEACHER}/requirements.txt /"]
    assert "requirements-default" not in stages
    assert ("torch" in stages) == ("torch" in EXTRAS[family])


def test_a_family_whose_packages_are_not_pinned_has_no_image() -> None:
    text = (ROOT / "labeller" / "Dockerfile").read_text()
    named = {kind: set(re.findall(rf"^FROM \S+ AS {kind}-(\S+)$", text, re.MULTILINE)) for kind in ("requirements", "base", "own")}
    assert named["requirements"] - {"default", "family"} == named["base"] - {"default"} == named["own"] - {"default"} == set(FAMILIES)
    assert {"7net", "orb", "chgnet", "xtb"} <= set(FAMILIES)


def test_the_labeller_of_compose_has_7net_and_orb_unless_a_family_is_named() -> None:
    assert "ARG TEACHER=default" in joined((ROOT / "labeller" / "Dockerfile").read_text())
    assert reached_labeller("default")["requirements-default"] == ["COPY labeller/requirements.txt /"]
    assert BUILDS["labeller"]["args"]["TEACHER"] == "${DISTILLERY_LABELLER_FAMILY:-default}"
    image = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["labeller"]["image"]
    assert image == "distillery-labeller${DISTILLERY_LABELLER_FAMILY:+-}${DISTILLERY_LABELLER_FAMILY:-}:${DISTILLERY_TAG:-latest}"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["dynamic"]["optional-dependencies"]
    assert {name: extras[name]["file"] for name in EXTRAS} == {name: [f"labeller/extras/{name}/requirements.txt"] for name in EXTRAS}


def test_compose_builds_every_service_with_the_one_dockerfile() -> None:
    for name in SERVICES:
        build = BUILDS[name]
        assert build["dockerfile"] == "services/Dockerfile", name
        assert build["args"]["SERVICE"] == name
        assert build["args"].get("KIND") == choose_kind(name), name
        assert ("UPSTREAM" in build["args"]) == (name in CHECKED_OUT), name


def test_a_service_is_no_model_unless_asked_for() -> None:
    assert "ARG KIND=service" in joined(SERVICES_DOCKERFILE.read_text())


@pytest.mark.parametrize("name", CHECKED_OUT)
def test_upstream_code_is_fetched_at_the_commit_that_the_service_names(name: str) -> None:
    module = importlib.import_module(f"services.{name}.upstream")
    assert BUILDS[name]["args"]["UPSTREAM"] == f"https://github.com/{module.REPOSITORY}.git#{module.COMMIT}"


def test_upstream_is_a_stage_of_its_own_that_a_folder_can_replace_whole() -> None:
    assert reached(SERVICES_DOCKERFILE.read_text(), KIND="model")["upstream"] == ["ARG UPSTREAM", "ADD ${UPSTREAM} /"]


def test_no_frontend_is_fetched_from_a_registry(dockerfile: str) -> None:
    assert "syntax" not in dockerfile


def test_images_come_from_python_slim_alone(dockerfile: str) -> None:
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", dockerfile, re.MULTILINE))
    names = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    parents = {expand(name, {"KIND": "model", "TEACHER": "default"}) for name in names}
    assert parents - stages == {"scratch", "python:3.12-slim-bookworm"}


def test_commands_have_exec_form_and_the_user_is_not_root(dockerfile: str) -> None:
    lines = joined(dockerfile)
    (command,) = (json.loads(line[4:]) for line in lines if line.startswith("CMD "))
    assert command[:2] == ["distillery", "serve"]
    assert command[-4:] == ["--host", "0.0.0.0", "--port", "8000"]
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001:10001"]
    assert lines.index("USER 10001:10001") < lines.index(f"CMD {json.dumps(command)}")


def test_an_image_serves_what_it_is_built_for() -> None:
    assert '"serve", "gateway"' in DOCKERFILES[0].read_text()
    assert '"serve", "labeller"' in DOCKERFILES[1].read_text()
    told = [line for line in reached(SERVICES_DOCKERFILE.read_text(), KIND="service")[""] if line.startswith("ENV ")]
    assert [line.split()[1] for line in told if "DISTILLERY_SERVE=" in line] == ["DISTILLERY_SERVE=${SERVICE}"]


def healthchecks(text: str) -> list[str]:
    return [line for line in joined(text) if line.startswith("HEALTHCHECK ")]


def test_the_healthcheck_asks_whether_it_is_ready(dockerfile: str) -> None:
    assert healthchecks(dockerfile)
    for check in healthchecks(dockerfile):
        command = json.loads(check[check.index("[") :])
        assert command[:2] == ["python", "-ISc"]
        assert "/v1/health/ready" in command[2]


def test_what_may_fetch_weights_has_an_hour_to_start_and_is_healthy_at_once_then() -> None:
    texts = {name: reached(SERVICES_DOCKERFILE.read_text(), KIND=BUILDS[name]["args"].get("KIND", "service")) for name in SERVICES}
    texts |= {name: reached((ROOT / name / "Dockerfile").read_text(), TEACHER="default") for name in ("gateway", "labeller")}
    for name, stages in texts.items():
        (check,) = (line for lines in stages.values() for line in lines if line.startswith("HEALTHCHECK "))
        folder = ROOT / name if (ROOT / name).is_dir() else ROOT / "services" / name
        assert "--start-interval=3s" in check, name
        assert ("--start-period=3600s" in check) == (folder / "weights.yaml").exists(), name


def read_excerpt(name: str) -> list[str]:
    """What of upstream's checkout enters a model's image, paths below it."""
    return (ROOT / "services" / name / "upstream.txt").read_text().split()


@pytest.mark.parametrize("name", CHECKED_OUT)
def test_of_upstream_s_checkout_the_licence_enters_and_not_all(name: str) -> None:
    found = read_excerpt(name)
    assert "LICENSE" in found
    assert not {".", "/", "*"} & set(found)


@pytest.mark.parametrize("name", CHECKED_OUT)
def test_what_enters_of_upstream_s_checkout_is_all_that_its_digest_covers(name: str, tmp_path: Path) -> None:
    checkout = require_upstream(name)
    for path in read_excerpt(name):
        source, target = checkout / path, tmp_path / name / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    module = importlib.import_module(f"services.{name}.upstream")
    if name == "mattergen":
        assert digest_upstream(tmp_path / name / "mattergen") == module._DIGEST
    else:
        assert digest_upstream(tmp_path / name) == module.DIGEST


def test_an_image_gets_the_project_as_one_wheel_and_its_own_requirements() -> None:
    for path in DOCKERFILES:
        stages = reached(path.read_text(), KIND="service", TEACHER="default")
        assert [line for line in stages["image"] if line.startswith("COPY ")] == [
            "COPY --from=deps /venv /venv",
            "COPY --from=project /venv /venv",
        ]
    own = {path.parent.name: next(line for line in joined(path.read_text()) if "requirements.txt /" in line) for path in DOCKERFILES}
    assert own == {
        "gateway": "COPY gateway/requirements.txt /",
        "labeller": "COPY labeller/requirements.txt /",
        "services": "COPY services/${SERVICE}/requirements.txt /",
    }
