"""docker/engine.sh on a machine without an engine: what it installs, waits for and refuses. Commands of the system are scripted."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docker" / "engine.sh"
DEBIAN_13 = 'ID=debian\nVERSION_ID="13"\nVERSION_CODENAME=trixie\n'
COMMANDS = {
    "docker": 'if [ "$1" = info ]; then test -e "$HERE/running"; else echo 26; fi',
    "setsid": 'echo "$@" >>"$HERE/started"; touch "$HERE/running"',
    "id": 'echo "${USER_ID:-0}"',
    "sleep": "true",
    "rm": "true",  # not the files of an engine that runs here
    "apt-get": """\
echo "$@" >>"$HERE/apt"
test -e "$HERE/locks" || exit 0
n=$(($(cat "$HERE/locks") - 1))
test "$n" -ge 0 || exit 0
echo "$n" >"$HERE/locks"
echo "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 1 (apt-get)" >&2
exit 100""",
}
TOOLS = ("bash", "cat", "cut", "dirname", "grep", "mktemp", "seq", "tail", "touch")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder that holds the scripted commands, what they wrote down, and the release of Debian."""
    for name, script in COMMANDS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{script}\n")
        (tmp_path / name).chmod(0o755)
    for name in TOOLS:  # and no others: there may be an engine in /usr/bin
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    (tmp_path / "os-release").write_text(DEBIAN_13)
    return tmp_path


def run_script(machine: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """The script on that machine."""
    places = {"PATH": str(machine), "HERE": str(machine), "DISTILLERY_OS_RELEASE": str(machine / "os-release")}
    return subprocess.run(
        ["/bin/bash", str(SCRIPT)],
        env={**os.environ, **places, "DISTILLERY_ENGINE_LOG": str(machine / "log"), **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_on_debian_13_it_takes_the_distribution_s_own_packages(machine: Path) -> None:
    done = run_script(machine)
    assert done.returncode == 0, done.stderr
    update, install = (machine / "apt").read_text().splitlines()
    assert update.endswith(" update")
    packages = install.partition("--no-install-recommends ")[2].split()
    assert packages == ["docker.io", "docker-cli", "docker-compose", "docker-buildx", "containerd", "runc", "iptables", "ca-certificates"]
    assert (machine / "started").read_text().startswith("--fork dockerd ")


def test_it_does_nothing_where_an_engine_answers(machine: Path) -> None:
    (machine / "running").touch()
    assert run_script(machine).returncode == 0
    assert not (machine / "apt").exists()
    assert not (machine / "started").exists()


def test_it_waits_for_an_apt_that_is_at_work(machine: Path) -> None:
    (machine / "locks").write_text("3")
    done = run_script(machine)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("another apt is at work") == 1
    assert len((machine / "apt").read_text().splitlines()) == 3 + 2
    assert "DPkg::Lock::Timeout=600" in (machine / "apt").read_text()


def test_it_does_not_wait_for_ever(machine: Path) -> None:
    (machine / "locks").write_text("1000000")
    done = run_script(machine, DISTILLERY_APT_SECONDS="0")
    assert done.returncode == 1
    assert "Could not get lock" in done.stderr


@pytest.mark.parametrize(
    ("release", "user", "said"),
    [
        ('ID=fedora\nVERSION_ID=43\nPRETTY_NAME="Fedora 43"\n', "0", "knows Debian 12 and 13 only; here is Fedora 43"),
        (DEBIAN_13, "1000", "needs root"),
    ],
)
def test_elsewhere_it_says_what_to_install(machine: Path, release: str, user: str, said: str) -> None:
    (machine / "os-release").write_text(release)
    done = run_script(machine, USER_ID=user)
    assert done.returncode == 1
    assert said in done.stderr
    assert "install Docker Engine 25 or later with Compose and buildx" in done.stderr
    assert not (machine / "apt").exists()
