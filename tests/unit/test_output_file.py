"""What commands write goes over no file that a dataset is made of, by whatever name it is meant, --force or not."""

from pathlib import Path

import pytest

from distillery.dataset.output_file import require_target
from distillery.errors import InvalidRequest


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
