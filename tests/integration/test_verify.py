"""The quickstart's dataset is verified from its file alone, some of it is made again, and its recipe is a recipe.

A small dataset of fakes is made again by a running factory over HTTP.
"""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from distillery.generators.service import ServiceSettings, create_app
from distillery.recipe.reading import parse_recipe, read_recipe
from gateway.app import create_gateway
from labeller.app import create_labeller
from labeller.settings import LabellerSettings
from tests.command import ROOT, Finished, distillery
from tests.containers.project import wait_for
from tests.fake_service import FakeGenerator
from tests.fake_teacher import FakeTeacher
from tests.integration.factory import RECIPE, settings_for
from tests.serving import free_port, serve


@pytest.fixture(scope="module")
def alone(quickstart: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset without parts, recipe and report."""
    folder = tmp_path_factory.mktemp("alone")
    shutil.copy(quickstart.dataset, folder)
    return folder / "dataset.h5"


def test_the_quickstart_passes_and_a_shard_comes_out_the_same_again(alone: Path) -> None:
    done = distillery("verify", str(alone), "--regenerate", "1", "--seed", "4", cwd=alone.parent)
    assert done.returncode == 0, done.output
    assert "✗" not in done.output
    assert re.search("^✓ gates +GO", done.output, re.MULTILINE)
    assert "frames of the same proposals" in done.output
    assert "✓ versions" in done.output


def test_the_report_beside_it_says_the_same(quickstart: Finished) -> None:
    done = distillery("verify", str(quickstart.dataset), cwd=quickstart.folder)
    assert done.returncode == 0, done.output
    assert "✓ report" in done.output


def test_a_damaged_file_is_a_finding_and_no_file_is_an_error(alone: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "dataset.h5"
    content = bytearray(alone.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    assert distillery("verify", str(damaged), cwd=tmp_path).returncode == 3
    missing = distillery("verify", "nothing.h5", cwd=tmp_path)
    assert missing.returncode == 1
    assert "Traceback" not in missing.output


def test_the_printed_recipe_is_the_one_it_was_made_from(alone: Path) -> None:
    printed = distillery("recipe", str(alone), cwd=alone.parent)
    assert printed.returncode == 0, printed.output
    recipe, text = read_recipe(ROOT / "recipes" / "quickstart.yaml")
    assert printed.output.endswith(text)
    assert parse_recipe(printed.output).sha256 == recipe.sha256
    assert "sevenn==" in printed.output


def test_the_docs_python_runs(quickstart: Finished, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(quickstart.folder)
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "reproduce.md").read_text(), re.DOTALL)
    exec(compile(block, "reproduce.md", "exec"), {})
    assert capsys.readouterr().out.splitlines()[0].startswith("full-molecules-00000 ")


@dataclass(frozen=True)
class Factory:
    """Fake services, labeller and gateway on ports of their own, and a finished dataset."""

    data: Path
    teacher: FakeTeacher
    labeller: str
    services: dict[str, str]
    gateway: str

    @property
    def dataset(self) -> str:
        return str(self.data / "small" / "dataset.h5")

    def verify(self, *arguments: str) -> Finished:
        return distillery("verify", self.dataset, "--regenerate", "2", "--deployed", *arguments, cwd=self.data)

    def scratch(self) -> list[Path]:
        return list(self.data.glob("verify-*"))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    data, teacher = tmp_path_factory.mktemp("deployed"), FakeTeacher()
    with ExitStack() as stack:
        services = {name: stack.enter_context(serve(create_app(FakeGenerator(name), ServiceSettings()))) for name in ("fake", "other")}
        labeller = stack.enter_context(serve(create_labeller(teacher, LabellerSettings(data=data))))
        gateway = stack.enter_context(serve(create_gateway(settings_for(data, labeller=labeller, services=services))))
        httpx.post(f"{gateway}/v1/datasets", content=RECIPE).raise_for_status()
        wait_for(lambda: httpx.get(f"{gateway}/v1/datasets/small").json()["state"] == "finished", "the dataset is finished", 60)
        yield Factory(data, teacher, labeller, services, gateway)


@pytest.fixture
def deployed(running: Factory, monkeypatch: pytest.MonkeyPatch) -> Factory:
    """The factory, and the environment that the gateway's container has."""
    monkeypatch.setenv("DISTILLERY_GATEWAY_DATA", str(running.data))
    monkeypatch.setenv("DISTILLERY_GATEWAY_LABELLER", running.labeller)
    monkeypatch.setenv("DISTILLERY_GATEWAY_SERVICES", json.dumps(running.services))
    monkeypatch.setenv("DISTILLERY_GATEWAY_PATIENCE", "0.01")
    return running


def test_a_running_factory_makes_shards_again_and_keeps_nothing_of_them(deployed: Factory) -> None:
    done = deployed.verify()
    assert done.output.count("structures bit by bit") == 2, done.output
    assert "✓ versions" in done.output
    assert sorted(path.name for path in deployed.data.iterdir()) == [".lock", "small"]


def test_a_running_factory_without_the_service_or_the_teacher_is_an_error(deployed: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    away = {name: f"http://127.0.0.1:{free_port()}" for name in deployed.services}
    monkeypatch.setenv("DISTILLERY_GATEWAY_SERVICES", json.dumps(away))
    done = deployed.verify()
    assert done.returncode == 1
    assert re.search(r"(fake|other) can't be reached: .*; without \1 full-.* can't be made again", done.output), done.output
    with serve(create_labeller(FakeTeacher(name="another"), LabellerSettings(data=deployed.data))) as labeller:
        monkeypatch.setenv("DISTILLERY_GATEWAY_LABELLER", labeller)
        done = deployed.verify()
    assert done.returncode == 1
    assert "the recipe wants the teacher fake, the labeller has another" in done.output
    assert not deployed.scratch()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_an_interrupted_verification_is_in_nobodys_way(deployed: Factory, name: str) -> None:
    deployed.teacher.gate.clear()
    command = [sys.executable, "-m", "cli", "verify", deployed.dataset, "--regenerate", "1", "--deployed"]
    with subprocess.Popen(command, cwd=deployed.data, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        deployed.teacher.entered.clear()
        wait_for(deployed.teacher.entered.is_set, "it is labelling", 60, 0.02)
        assert [row["name"] for row in httpx.get(f"{deployed.gateway}/v1/datasets").json()] == ["small"]
        busy = deployed.verify()
        assert busy.returncode == 1
        assert "another process is at work" in busy.output
        process.send_signal(signal.Signals[name])
        output, _ = process.communicate(timeout=30)
    if name == "SIGKILL":
        assert len(deployed.scratch()) == 1
    else:
        assert process.returncode == 130, output
        assert "Stopped; what was made again is removed." in output
        assert not deployed.scratch()
    deployed.teacher.gate.set()
    done = deployed.verify()
    assert done.output.count("structures bit by bit") == 2, done.output
    assert not deployed.scratch()


def test_deployed_without_a_number_of_shards_is_refused(deployed: Factory) -> None:
    done = distillery("verify", deployed.dataset, "--deployed", cwd=deployed.data)
    assert done.returncode == 1
    assert "--deployed needs --regenerate N" in done.output


def test_a_mistake_in_the_gateways_settings_is_named_before_anything_is_read(deployed: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLERY_GATEWAY_SERVICES", "{bad")
    done = deployed.verify()
    assert done.returncode == 1
    assert "DISTILLERY_GATEWAY_" in done.output
    assert "services" in done.output
    assert "Traceback" not in done.output
    assert "layout" not in done.output
