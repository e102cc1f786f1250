"""`distillery report --out`: the page goes where it is wanted, and over nothing that is not its own."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from distillery.errors import InvalidRequest
from tests.dataset_folder import write_parts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_parts(tmp_path / "pictured")
    return tmp_path / "pictured"


def run(*arguments: str) -> None:
    result = CliRunner().invoke(app, ["report", *arguments])
    if result.exception is not None:
        raise result.exception


def by_hard_link(path: Path) -> Path:
    link = path.parent.parent / "link"
    link.hardlink_to(path)
    return link


def by_link(path: Path) -> Path:
    link = path.parent.parent / "link"
    link.symlink_to(path)
    return link


@pytest.mark.parametrize("own", ["recipe.yaml", "parts/full-molecules-00000.h5"])
@pytest.mark.parametrize("name", [lambda path: path, by_link, by_hard_link])
def test_no_file_of_the_dataset_is_written_over(folder: Path, own: str, name: Callable[[Path], Path]) -> None:
    content = (folder / own).read_bytes()
    with pytest.raises(InvalidRequest, match="that file itself"):
        run(str(folder), "--out", str(name(folder / own)), "--force")
    assert (folder / own).read_bytes() == content


def test_a_file_of_the_users_is_replaced_only_with_force(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.html"
    out.write_text("mine")
    with pytest.raises(InvalidRequest, match="--force"):
        run(str(folder), "--out", str(out))
    with pytest.raises(InvalidRequest, match="is a device"):
        run(str(folder), "--out", "/dev/full", "--force")
    assert out.read_text() == "mine"
    run(str(folder), "--out", str(out), "--force")
    assert "pictured" in out.read_text()
    run(str(folder))
    run(str(folder))
    assert (folder / "report.html").read_text() == out.read_text()


def test_a_dataset_whose_parts_are_gone_has_no_empty_page(folder: Path) -> None:
    (folder / "dataset.h5").touch()
    shutil.rmtree(folder / "parts")
    with pytest.raises(InvalidRequest, match="no parts, of which its page is made: put parts back"):
        run(str(folder))
    (folder / "parts").touch()
    with pytest.raises(InvalidRequest, match="parts is a file, where the folder of the parts should be"):
        run(str(folder))
    assert not (folder / "report.html").exists()
