"""The Dockerfiles: the same habits in all, and shared stages that are the same lines. Needs no engine."""

import importlib
import json
import re
import shutil
from pathlib import Path

import pytest

from distillery.generators.models.upstream import digest_upstream
from tests.containers.engine import ROOT
from tests.upstream import require_upstream

DOCKERFILES = sorted([*ROOT.glob("*/Dockerfile"), *ROOT.glob("services/*/Dockerfile")])


@pytest.fixture(params=DOCKERFILES, ids=lambda path: path.parent.name)
def dockerfile(request: pytest.FixtureRequest) -> str:
    path: Path = request.param
    return path.read_text()


def joined(text: str) -> list[str]:
    """Instructions, continued lines as one, without comments."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    return [re.sub(r" +", " ", line) for line in re.sub(r"\\\n", " ", lines).splitlines() if line]


def shared_blocks(text: str) -> dict[str, str]:
    """The text between `shared` marks by name."""
    return dict(re.findall(r"^# shared: (\w+)\n(.*?)^# end of shared: \1$", text, re.MULTILINE | re.DOTALL))


def test_shared_stages_are_the_same_lines_everywhere() -> None:
    blocks = [block for path in DOCKERFILES for block in shared_blocks(path.read_text()).items()]
    assert {name for name, _ in blocks} == {"contract", "torch"}
    assert len(set(blocks)) == 2


def test_all_images_share_the_contract_layers(dockerfile: str) -> None:
    assert "contract" in shared_blocks(dockerfile)


def test_every_image_with_torch_takes_the_shared_layers() -> None:
    for path in DOCKERFILES:
        text = path.read_text()
        needs_torch = "torch" in (path.parent / "requirements.txt").read_text().split() or "COPY generative " in text
        assert needs_torch == ("torch" in shared_blocks(text)), path


def test_upstream_code_is_fetched_at_the_commit_that_the_service_names() -> None:
    fetched = {}
    for path in DOCKERFILES:
        for repository, commit in re.findall(r"^ADD https://github.com/(\S+)\.git#([0-9a-f]{40}) /$", path.read_text(), re.MULTILINE):
            fetched[path.parent.name] = (repository, commit)
    assert sorted(fetched) == ["crystalflow", "geodiff", "mattergen", "moldiff"]
    for name, (repository, commit) in fetched.items():
        module = importlib.import_module(f"services.{name}.upstream")
        assert (repository, commit) == (module.REPOSITORY, module.COMMIT)


def test_no_frontend_is_fetched_from_a_registry(dockerfile: str) -> None:
    assert "syntax" not in dockerfile


def test_images_come_from_python_slim_alone(dockerfile: str) -> None:
    stages = set(re.findall(r"^FROM \S+ AS (\w+)$", dockerfile, re.MULTILINE))
    assert set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)) - stages == {"scratch", "python:3.12-slim-bookworm"}


def test_commands_have_exec_form_and_the_user_is_not_root(dockerfile: str) -> None:
    final = joined(dockerfile[dockerfile.rindex("\nFROM ") :])
    (command,) = (json.loads(line[4:]) for line in final if line.startswith("CMD "))
    assert command[:4] == ["python", "-m", "uvicorn", "--factory"]
    assert command[-2:] == ["--timeout-graceful-shutdown", "25"]
    assert [line for line in final if line.startswith("USER ")] == ["USER 10001:10001"]


def test_the_healthcheck_asks_whether_it_is_ready(dockerfile: str) -> None:
    (check,) = (line for line in joined(dockerfile) if line.startswith("HEALTHCHECK "))
    command = json.loads(check[check.index("[") :])
    assert command[:2] == ["python", "-ISc"]
    assert "/v1/health/ready" in command[2]


def test_what_may_fetch_weights_has_an_hour_to_start_and_is_healthy_at_once_then() -> None:
    for path in DOCKERFILES:
        (check,) = (line for line in joined(path.read_text()) if line.startswith("HEALTHCHECK "))
        assert "--start-interval=3s" in check, path
        assert ("--start-period=3600s" in check) == (path.parent / "weights.yaml").exists(), path


@pytest.fixture(params=["crystalflow", "geodiff", "mattergen", "moldiff"])
def copies(request: pytest.FixtureRequest) -> tuple[str, list[tuple[str, str]]]:
    """A service, and what of upstream's checkout enters its image: each path there, and its place."""
    name: str = request.param
    lines = re.findall(r"^COPY --from=upstream (.+) (\S+)$", (ROOT / "services" / name / "Dockerfile").read_text(), re.MULTILINE)
    return name, [(path, place + path[1:] if place.endswith("/") else place) for paths, place in lines for path in paths.split()]


def test_of_upstream_s_checkout_the_licence_enters_and_not_all(copies: tuple[str, list[tuple[str, str]]]) -> None:
    name, found = copies
    assert ("/LICENSE", f"/opt/upstream/{name}/LICENSE") in found
    assert "/" not in dict(found)


def test_what_enters_of_upstream_s_checkout_is_all_that_its_digest_covers(
    copies: tuple[str, list[tuple[str, str]]], tmp_path: Path
) -> None:
    name, found = copies
    checkout = require_upstream(name)
    for path, place in found:
        target = tmp_path / place.removeprefix("/opt/upstream/")
        target.parent.mkdir(parents=True, exist_ok=True)
        source = checkout / path[1:]
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    module = importlib.import_module(f"services.{name}.upstream")
    if name == "mattergen":
        assert digest_upstream(tmp_path / name / "mattergen") == module._DIGEST
    else:
        assert digest_upstream(tmp_path / name) == module.DIGEST


def test_an_image_gets_the_contract_and_its_own_folder(dockerfile: str) -> None:
    own = re.findall(r"^COPY (\S+) /app/", dockerfile, re.MULTILINE)
    folder = own[-1]
    shared = ["contract", *(["generative"] if (ROOT / folder / "weights.yaml").exists() and folder != "labeller" else [])]
    assert own == [*shared, *(["services/__init__.py"] if folder.startswith("services/") else []), folder]
    assert (ROOT / folder / "Dockerfile").read_text() == dockerfile
