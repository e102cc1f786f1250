"""The labeller image on Python 3.12: its own tests inside it, and orb-v2 with weights from the volume."""

import io
import tarfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import httpx
import pytest

from tests.containers.conftest import RECIPE
from tests.containers.engine import ROOT, docker
from tests.containers.project import Dataset, Identity, Project, running

PURE_PYTHON = ("pytest", "pluggy", "iniconfig", "packaging")
OWN_TESTS = [ROOT / "tests" / "unit" / name for name in ("test_orb.py", "test_sevennet.py")]
"""Those that hang on its Python and its packages."""
HARDENED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "none", "--tmpfs", "/tmp:exec,size=2g")
MAKE_WEIGHTS = """
import pathlib, torch
from orb_models.forcefield.pretrained import orb_v2_architecture
torch.manual_seed(0)
pathlib.Path("/weights/labeller/orb-v2").mkdir(parents=True)
torch.save(orb_v2_architecture(device="cpu").state_dict(), "/weights/labeller/orb-v2/orb-v2-20241011.ckpt")
"""


def pack_tests() -> bytes:
    """A tar archive of the tests, their settings and a pytest that needs no installation."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(ROOT / "pyproject.toml", "pyproject.toml")
        for path in sorted(ROOT.glob("tests/*.py")) + sorted(ROOT.glob("tests/unit/*.py")):
            tar.add(path, path.relative_to(ROOT).as_posix())
        for name in PURE_PYTHON:
            for file in distribution(name).files or ():
                if ".." not in file.parts and "__pycache__" not in file.parts:
                    tar.add(str(file.locate()), f"site/{file}")
    return buffer.getvalue()


def test_its_own_tests_pass_inside_it(images: dict[str, str]) -> None:
    names = " ".join(path.relative_to(ROOT).as_posix() for path in OWN_TESTS)
    script = (
        "mkdir /tmp/own && cd /tmp/own && tar -x && "
        f"PYTHONPATH=/tmp/own/site:/tmp/own python -m pytest -p no:cacheprovider -rs --show-capture=no {names}"
    )
    done = docker("run", "--rm", "--interactive", *HARDENED, images["labeller"], "sh", "-c", script, stdin=pack_tests(), seconds=580)
    assert " passed" in done.stdout.splitlines()[-1]
    assert "needs orb-models" not in done.stdout, done.stdout


@pytest.fixture
def orb(images: dict[str, str]) -> Iterator[Project]:
    """A factory whose labeller found an orb-v2 checkpoint of random weights in its volume."""
    with running("distillery-orb", "rdkit", "pymatgen", "ase", env={"DISTILLERY_TEACHER": "orb-v2", "DISTILLERY_DEVICE": "cpu"}) as project:
        project.compose("run", "--rm", "--no-deps", "labeller", "python", "-c", MAKE_WEIGHTS)
        project.up()
        yield project


def test_orb_v2_labels_with_weights_from_the_volume(orb: Project, expected: Identity, tmp_path: Path) -> None:
    """The weights are random, so are the labels: another structure's energy may be an outlier, of which crystals alone have any."""
    dataset = Dataset(orb, RECIPE.format(name="orb").replace("teacher: 7net-0", "teacher: orb-v2"))
    assert dataset.make()["state"] == "finished"
    found = dataset.identity(tmp_path)
    assert [one for one in found if "crystals" not in one[0]] == [one for one in expected if "crystals" not in one[0]]
    assert len(found) == len(expected)
    recorded = orb.execute("labeller", "cut -c1-64 /weights/labeller/orb-v2/orb-v2-20241011.ckpt.sha256").strip()
    assert httpx.get(f"{orb.url}/v1/datasets/orb").json()["teacher"] == "orb-v2"
    assert recorded == orb.execute("labeller", "sha256sum /weights/labeller/orb-v2/orb-v2-20241011.ckpt").split()[0]
