"""`distillery slurm --dry-run`: scripts that a person can read, that bash takes, and that ask for what the options say."""

import os
import re
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.slurm_scripts import Resources, write_scripts
from distillery.errors import InvalidRequest
from distillery.recipe.reading import parse_recipe
from tests.command import Finished, distillery_here

RECIPE = """\
name: both
seed: 1
teacher: 7net-0
sources:
  clusters: {service: ase, system: cluster, count: 8}
  generated: {service: mattergen, system: crystal, count: 8}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts of a recipe, in a folder whose name a shell must be told of."""
    folder = tmp_path_factory.mktemp("shared") / "with a blank"
    resources = Resources("04:00:00", "long", "me", 4, "8G", 1)
    counts = {"labeller": 4, "ase": 8, "mattergen": 1}
    write_scripts(folder, folder / "recipe.yaml", folder / "data", parse_recipe(RECIPE), counts, resources, None)
    return folder


def test_bash_takes_every_script(folder: Path) -> None:
    scripts = sorted(folder.glob("*.sh"))
    assert [path.stem for path in scripts] == ["ase", "gateway", "labeller", "mattergen", "settings", "stop", "submit"]
    for script in scripts:
        subprocess.run(["bash", "-n", script], check=True)


def test_options_become_what_slurm_is_asked_for(folder: Path) -> None:
    labeller, ase, gateway = ((folder / f"{name}.sh").read_text() for name in ("labeller", "ase", "gateway"))
    for line in ("--time=04:00:00", "--partition=long", "--account=me", "--cpus-per-task=4", "--mem=8G", "--gpus-per-task=1"):
        assert f"#SBATCH {line}\n" in labeller
    assert "--gpus" not in ase + gateway
    assert "--gpus-per-task=1" in (folder / "mattergen.sh").read_text()
    submit = (folder / "submit.sh").read_text()
    assert "--array=0-3 labeller.sh" in submit
    assert "--array=0-7 ase.sh" in submit


def test_the_key_is_the_users_alone_and_stays(folder: Path) -> None:
    key = folder / "key"
    before = key.read_text()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    write_scripts(folder, folder / "r.yaml", folder / "data", parse_recipe(RECIPE), {}, Resources("1", None, None, 1, "1G", 0), None)
    assert key.read_text() == before


def test_images_of_apptainer_take_the_place_of_the_environment(tmp_path: Path) -> None:
    resources = Resources("04:00:00", None, None, 4, "8G", 0)
    write_scripts(tmp_path, tmp_path / "r.yaml", tmp_path / "data", parse_recipe(RECIPE), {"ase": 1}, resources, tmp_path / "images")
    assert f"{tmp_path}/images/distillery-ase.sif distillery" in (tmp_path / "ase.sh").read_text()


def test_a_teacher_with_options_is_one_word_to_bash(tmp_path: Path) -> None:
    teacher = "ase:ase.calculators.lj:LennardJones(epsilon=1.5, rc=6.0)"
    recipe = parse_recipe(RECIPE.replace("7net-0", f"'{teacher}'"))
    write_scripts(tmp_path, tmp_path / "r.yaml", tmp_path / "data", recipe, {"ase": 1}, Resources("1", None, None, 1, "1G", 0), None)
    tell = f'source {tmp_path}/settings.sh; printf %s "$DISTILLERY_LABELLER_TEACHER"'
    assert subprocess.run(["bash", "-c", tell], check=True, capture_output=True, text=True).stdout == teacher


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--rdkit", "2"), "the recipe asks nothing of rdkit; its services are ase"),
        (("--ase", "none"), "--ase takes the number of its replicas, at least 1; got 'none'"),
        (("--labellers", "0"), "labellers"),
        (("--nothing", "2"), "nothing"),
    ],
)
def test_what_can_not_be_asked_for_is_said(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE.partition("  generated")[0])
    done = distillery_here("slurm", "r.yaml", *arguments, "--dry-run", cwd=tmp_path)
    assert done.returncode
    assert says in done.output
    assert not (tmp_path / "slurm").exists()


def test_without_slurm_the_scripts_are_written_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    (tmp_path / "r.yaml").write_text(RECIPE.partition("  generated")[0])
    done = distillery_here("slurm", "r.yaml", "--ase=2", cwd=tmp_path)
    assert done.returncode == 1
    assert "submit.sh" in done.output
    assert (tmp_path / "slurm" / "both" / "ase.sh").exists()


def write_small(tmp_path: Path, *flags: str) -> Finished:
    (tmp_path / "r.yaml").write_text(RECIPE.partition("  generated")[0])
    return distillery_here("slurm", "r.yaml", "--folder", "jobs", "--dry-run", *flags, cwd=tmp_path)


def test_scripts_that_nobody_edited_are_written_anew(tmp_path: Path) -> None:
    assert write_small(tmp_path).returncode == 0
    assert write_small(tmp_path, "--time", "08:00:00").returncode == 0
    assert "--time=08:00:00" in (tmp_path / "jobs" / "ase.sh").read_text()


@pytest.mark.parametrize("name", ["settings.sh", "submit.sh", "ase.sh"])
def test_no_script_is_written_over_that_somebody_edited_or_wrote(tmp_path: Path, name: str) -> None:
    assert write_small(tmp_path).returncode == 0
    script, stop = tmp_path / "jobs" / name, tmp_path / "jobs" / "stop.sh"
    stop.unlink()
    for text in (script.read_text().replace("\n", "\nmy own\n", 1), "my own\n"):
        script.write_text(text)
        done = write_small(tmp_path, "--time", "08:00:00")
        assert done.returncode == 1
        assert f"{name} is there and is not as `distillery slurm` wrote it" in done.output
        assert script.read_text() == text
        assert not stop.exists()
    assert write_small(tmp_path, "--force").returncode == 0
    assert "my own" not in script.read_text()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda jobs: jobs.write_text("mine"), "--folder must be a folder, and .*jobs is a file"),
        (lambda jobs: (jobs.mkdir(), (jobs / "submit.sh").symlink_to("../r.yaml")), "should be a script, and is the recipe"),
        (lambda jobs: (jobs.mkdir(), os.mkfifo(jobs / "key", 0o644)), "should be the key, and is a pipe"),
    ],
)
def test_nothing_of_the_users_is_written_over_or_made_private(tmp_path: Path, spoil: Callable[[Path], object], says: str) -> None:
    spoil(tmp_path / "jobs")
    before = [path.lstat().st_mode for path in sorted((tmp_path / "jobs").rglob("*"))]
    done = write_small(tmp_path, "--force")
    assert done.returncode == 1
    assert re.search(says, done.output)
    assert (tmp_path / "r.yaml").read_text() == RECIPE.partition("  generated")[0]
    assert [path.lstat().st_mode for path in sorted((tmp_path / "jobs").rglob("*"))] == before


@pytest.mark.parametrize("name", ["a\nb", os.fsdecode(b"caf\xe9")])
def test_a_folder_that_no_script_can_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidRequest, match="--folder must be a path in UTF-8 without control characters"):
        write_scripts(
            tmp_path / name, tmp_path / "r.yaml", tmp_path, parse_recipe(RECIPE), {}, Resources("1", None, None, 1, "1G", 0), None
        )
    assert os.listdir(tmp_path) == []
