"""A dataset is found by its name, its folder or its file, by every command alike."""

from pathlib import Path

import pytest

from cli.places import find_file, find_folder, require_writable
from distillery.errors import NotFound
from tests.command import QUICKSTART, distillery, distillery_here
from tests.dataset_folder import RECIPE, write_parts


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A finished dataset, as far as names go, and one that is not."""
    for name in ("done", "begun"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "recipe.yaml").write_text(RECIPE.replace("pictured", name))
    (tmp_path / "data" / "done" / "dataset.h5").write_bytes(b"")
    return tmp_path / "data"


@pytest.mark.parametrize("given", ["done", "data/done", "data/done/dataset.h5"])
def test_name_folder_and_file_are_the_same(data: Path, given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data.parent)
    assert find_folder(Path(given), data).resolve() == data / "done"
    assert find_file(Path(given), data).resolve() == data / "done" / "dataset.h5"


def test_what_is_not_finished_or_not_there_is_said_so(data: Path) -> None:
    assert find_folder(Path("begun"), data) == data / "begun"
    with pytest.raises(NotFound, match=r"begun has no dataset\.h5 yet"):
        find_file(Path("begun"), data)
    assert find_folder(data / "begun" / "dataset.h5", data) == data / "begun"
    for find in (find_file, find_folder):
        with pytest.raises(NotFound, match=r"'nothing'.*`distillery status` lists"):
            find(Path("nothing"), data)


@pytest.mark.parametrize("command", ["verify", "recipe", "report", "status", "export --to extxyz"])
def test_every_command_says_clearly_that_there_is_no_such_dataset(tmp_path: Path, command: str) -> None:
    done = distillery_here(*command.split(), "nothing", cwd=tmp_path)
    assert done.returncode == 1
    assert "'nothing'" in done.output
    assert "errno" not in done.output


def test_a_place_where_nothing_can_be_written_is_said_before_anything_is_loaded_and_a_try_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = distillery("run", str(QUICKSTART), "--data", "file", "--unchecked", cwd=tmp_path)
    assert done.returncode == 1
    assert "nothing can be written to file" in done.output.replace(f"{tmp_path}/", "")
    assert "loading" not in done.output
    require_writable(tmp_path / "not" / "there")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_with_files_of_another_kind_is_left_alone_and_that_is_said_before_anything_is_loaded(tmp_path: Path) -> None:
    own = tmp_path / "data" / "quickstart"
    own.mkdir(parents=True)
    (own / "README.md").write_text("mine")
    done = distillery("run", str(QUICKSTART), "--unchecked", cwd=tmp_path)
    assert done.returncode == 1
    assert "it holds README.md and no recipe.yaml" in done.output
    assert "loading" not in done.output
    assert [(path.name, path.read_text()) for path in own.iterdir()] == [("README.md", "mine")]


def test_status_takes_a_folder(tmp_path: Path) -> None:
    write_parts(tmp_path / "elsewhere" / "pictured")
    for given in (("elsewhere/pictured",), ("pictured", "--data", "elsewhere")):
        assert "pictured  stopped" in distillery_here("status", *given, cwd=tmp_path).output


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--fractions", "0.5,0.2,0.3"), "--fractions say how sides are cut: give --split"),
        (("--split-seed", "3"), "--split-seed say how sides are cut: give --split"),
        (("--split", "train", "--fractions", "0.5;0.5"), "three numbers like 0.8,0.1,0.1 (train, val, test), got '0.5;0.5'"),
        (("--split", "train", "--fractions", ""), "three numbers"),
        (("--split", "train", "--fractions", "0.5,0.2,0.9"), "1"),
        (("--split", "train", "--fractions", "nan,nan,nan"), "fractions"),
        (("--split", "trian"), "--split must be one of train, val, test, all"),
    ],
)
def test_shares_that_make_no_sense_are_refused_before_anything_is_read(data: Path, arguments: tuple[str, ...], text: str) -> None:
    done = distillery_here("export", "data/done/dataset.h5", "--to", "extxyz", *arguments, cwd=data.parent)
    assert done.returncode == 1
    assert text in done.output
    assert "HDF5" not in done.output
