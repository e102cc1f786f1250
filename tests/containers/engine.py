"""The container engine as tests ask it: the docker command, and what it answers."""

import functools
import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("cli", "distillery", "gateway", "labeller", "services")
"""What the project installs; every image has all of it."""
SERVICES = sorted(path.parent.name for path in ROOT.glob("services/*/requirements.txt"))
"""The services: their folders."""
SITE = "/venv/lib/python3.12/site-packages"
EVERYTHING = ("*",)
"""All profiles of the compose files."""
_ADVICE = "bring one with docker/engine.sh (Debian 12 or 13, as root) or install Docker Engine 25 or later with Compose 2.24 or later"


def docker(
    *arguments: str, check: bool = True, seconds: float = 300, env: Mapping[str, str] | None = None, stdin: bytes | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a docker command at the root of the repository; its standard output and error are kept."""
    done = subprocess.run(
        ["docker", *arguments], capture_output=True, cwd=ROOT, timeout=seconds, env={**os.environ, **(env or {})}, input=stdin, check=False
    )
    answer = subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
    if check and answer.returncode:
        raise AssertionError(f"{' '.join(answer.args)} ended with {answer.returncode}:\n{answer.stdout[-4000:]}\n{answer.stderr[-4000:]}")
    return answer


def require_engine() -> None:
    """Fail, or skip where CI is not set, with a sentence that says what is missing."""
    for command, missing in ((["info"], "no container engine answers"), (["compose", "version"], "docker compose is missing")):
        try:
            answers = docker(*command, check=False, seconds=60).returncode == 0
        except FileNotFoundError:
            answers, missing = False, "there is no docker command"
        if not answers:
            miss(f"{missing}: {_ADVICE}")


def require_image(image: str) -> None:
    """Fail, or skip where CI is not set, if an image has not been built from this checkout."""
    if lack := find_lack(image):
        miss(f"{lack}: build it with docker compose build, or docker/build-airgapped.sh where no registry is reachable")


@functools.cache
def find_lack(image: str) -> str | None:
    """Why an image is not this checkout's; None where it is."""
    if docker("image", "inspect", image, check=False).returncode:
        return f"there is no image {image}"
    listed = run_in(image, f"cd {SITE} && find {' '.join(PACKAGES)} -name '*.py' -type f -exec sha256sum {{}} +").splitlines()
    for digest, path in (line.split() for line in listed):
        file = ROOT / path
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            return f"{image} has another {path} than this checkout"
    return None


def miss(what: str) -> None:
    """Something the test needs is not there: an error in CI, a skip on a laptop."""
    if os.environ.get("CI"):
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


def inspect_image(image: str) -> dict[str, Any]:
    """What `docker image inspect` says of one image."""
    described: dict[str, Any] = json.loads(docker("image", "inspect", image).stdout)[0]
    return described


def run_in(image: str, script: str, *options: str) -> str:
    """The output of a shell script in a throw-away container of an image, as its own user."""
    return docker("run", "--rm", "--network", "none", *options, image, "sh", "-c", script).stdout


def read_config(*files: str, profiles: tuple[str, ...] = (), env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The configuration that Compose makes of compose files and variables."""
    arguments = [*(part for file in files for part in ("-f", file)), *(part for name in profiles for part in ("--profile", name))]
    config: dict[str, Any] = json.loads(docker("compose", *arguments, "config", "--format", "json", env=env).stdout)
    return config
