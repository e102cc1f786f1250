"""The quickstart as users run it: `docker compose up`, then `distillery run` over HTTP."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from distillery.verify.comparison import FRAME_DISTANCE
from tests.command import QUICKSTART, Finished, distillery
from tests.containers.engine import docker
from tests.containers.project import LIGHT, Project, read_frames, running


@pytest.fixture(scope="module")
def project(images: dict[str, str]) -> Iterator[Project]:
    with running("distillery-quickstart", env=dict.fromkeys(LIGHT, "")) as started:
        yield started


def test_the_quickstart_over_http_gives_the_embedded_dataset(project: Project, quickstart: Finished, tmp_path: Path) -> None:
    done = distillery("run", str(QUICKSTART), "--gateway", project.url, cwd=tmp_path)
    assert done.returncode == 0, done.output
    proposals, positions = read_frames(project.copy_out("quickstart/dataset.h5", tmp_path))
    embedded_proposals, embedded_positions = read_frames(quickstart.dataset)
    assert proposals == embedded_proposals
    assert np.abs(positions - embedded_positions).max() < FRAME_DISTANCE
    assert "quickstart" in project.execute("gateway", "distillery status")
    page = project.copy_out("quickstart/report.html", tmp_path).read_text()
    assert "Schwalbe-Koda" in page


def test_no_other_container_can_be_reached_from_outside(project: Project) -> None:
    ports = {line for line in project.compose("ps", "--format", "{{.Service}} {{.Ports}}").splitlines() if "->" in line}
    assert ports == {f"gateway 127.0.0.1:{project.port}->8000/tcp"}


def test_containers_run_hardened(project: Project, images: dict[str, str]) -> None:
    for service in images:
        status = project.execute(service, "cat /proc/1/status; touch /venv/x 2>&1; touch /tmp/x")
        assert "CapEff:\t0000000000000000" in status, service
        assert "NoNewPrivs:\t1" in status, service
        assert "Uid:\t10001\t10001" in status, service
        assert "Read-only file system" in status, service


def test_all_containers_stop_in_time(project: Project, images: dict[str, str]) -> None:
    for service in images:
        (container,) = project.containers(service)
        project.compose("stop", service, seconds=60)
        code = int(docker("inspect", "--format", "{{.State.ExitCode}}", container).stdout)
        assert code in {0, 143}, f"{service} ended with {code}: 137 means that it was killed after 30 s\n{project.logs()}"


def test_beyond_loopback_the_gateway_refuses_to_start_without_a_key(images: dict[str, str]) -> None:
    refused = docker("run", "--rm", "-e", "DISTILLERY_GATEWAY_PUBLISHED=0.0.0.0", images["gateway"], check=False)
    assert refused.returncode not in {0, 125, 126, 127}
    assert "set DISTILLERY_GATEWAY_API_KEY" in refused.stdout + refused.stderr


def test_with_a_key_strangers_are_turned_away(images: dict[str, str]) -> None:
    key = "a key of the tests only"
    with running("distillery-key", "gateway", env={"DISTILLERY_API_KEY": key}) as project:
        assert httpx.get(f"{project.url}/v1/datasets").status_code == 401
        assert httpx.get(f"{project.url}/v1/datasets", headers={"Authorization": f"Bearer {key}"}).status_code == 200
