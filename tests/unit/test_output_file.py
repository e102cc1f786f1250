"""What commands write goes over no file that a dataset is made of, by whatever name it is meant, --force or not."""

import os
from pathlib import Path

import pytest

from distillery.dataset.output_file import require_target
from distillery.errors import InvalidRequest
from distillery.export.places import require_folder
from distillery.runtime.atomic_files import follow
from tests.datasets import write_dataset
from tests.labelling import water


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dataset that a run made."""
    (tmp_path / "d" / "parts").mkdir(parents=True)
    for name in ("recipe.yaml", "state.json", "dataset.h5", "report.html", "train.extxyz", "parts/full-a-00000.h5"):
        (tmp_path / "d" / name).write_text(name)
    return tmp_path / "d"


@pytest.mark.parametrize("name", ["recipe.yaml", "state.json", "dataset.h5", "parts/full-a-00000.h5", "parts/new.h5", "report.json"])
def test_the_record_of_a_dataset_is_never_written_over(folder: Path, name: str) -> None:
    (folder.parent / "link").symlink_to(folder / name)
    for path in (folder / name, folder.parent / "link"):
        with pytest.raises(InvalidRequest, match="no file that a dataset is made of"):
            require_target(path, inputs=(), overwrite=True)


def test_what_was_made_of_it_is_written_over_if_that_is_asked_for(folder: Path) -> None:
    for name in ("report.html", "train.extxyz"):
        assert require_target(folder / name, inputs=(), overwrite=True) == folder / name
        with pytest.raises(InvalidRequest, match="is there already"):
            require_target(folder / name, inputs=(), overwrite=False)
    assert require_target(folder / "new.h5", inputs=(), overwrite=False) == folder / "new.h5"


def test_a_dataset_that_no_recipe_made_may_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "dataset.h5").write_text("filtered before")
    assert require_target(tmp_path / "dataset.h5", inputs=(), overwrite=True) == tmp_path / "dataset.h5"


@pytest.mark.parametrize("name", ["parts", "parts/new", "report.json", "checkpoints.json"])
def test_no_folder_takes_the_place_of_the_record_or_lies_among_the_parts(folder: Path, name: str) -> None:
    if name == "parts":
        (folder / "parts" / "full-a-00000.h5").unlink()  # an empty folder, which an export may replace elsewhere
    write_dataset(folder.parent / "d.h5", [water("t/0000")])
    with pytest.raises(InvalidRequest, match="no file that a dataset is made of"):
        require_folder(folder.parent / "d.h5", folder / name, ("*.lmdb",), overwrite=True)


def test_a_large_folder_is_not_read_to_its_end_to_find_that_it_is_no_export(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset(folder.parent / "d.h5", [water("t/0000")])
    seen: list[str] = []
    list_folder = os.scandir
    monkeypatch.setattr(os, "scandir", lambda place: seen.append(str(place)) or list_folder(place))
    with pytest.raises(InvalidRequest, match="which this export does not write"):
        require_folder(folder.parent / "d.h5", folder.parent, ("*.lmdb",), overwrite=True)
    assert seen == [str(folder.parent)]


def test_standard_output_is_no_file() -> None:
    with pytest.raises(InvalidRequest, match="nothing is written to standard output"):
        require_target(Path("-"), inputs=(), overwrite=True)
    with pytest.raises(InvalidRequest, match="--out must be a folder; nothing is written to standard output"):
        follow(Path("-"), "folder")
