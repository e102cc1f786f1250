"""A new file gets its name once, whoever else wants it, also where a file system has no hard links."""

import errno
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from distillery.dataset.sealed_file import write_atomically
from distillery.runtime import atomic_files
from distillery.runtime.atomic_files import is_own_temporary, is_visible, name_new, name_temporary, write_text_whole


@pytest.fixture(params=["hard links", "none"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on this machine's file system, which passes for one without hard links, as FAT is."""
    if request.param == "none":

        def refuse(source: Path, target: Path) -> None:
            raise OSError(errno.EPERM, "Operation not permitted", str(target))

        monkeypatch.setattr(os, "link", refuse)
    return tmp_path


def test_of_many_that_write_one_file_one_does(place: Path) -> None:
    for i in range(20):
        (place / f"own-{i}").write_text(str(i))
    with ThreadPoolExecutor(20) as pool:
        was_first = list(pool.map(lambda i: name_new(place / f"own-{i}", place / "file"), range(20)))
    assert was_first.count(True) == 1
    assert (place / "file").read_text() == str(was_first.index(True))


def test_a_part_that_is_there_stays_and_nothing_is_left_beside_it(place: Path) -> None:
    path = place / "part.h5"
    assert write_atomically(path, lambda file: file.create_dataset("a", data=1), replace=False)
    content = path.read_bytes()
    assert not write_atomically(path, lambda file: file.create_dataset("b", data=2), replace=False)
    assert path.read_bytes() == content
    assert os.listdir(place) == ["part.h5"]


def test_where_nothing_keeps_two_writers_apart_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*paths: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "link", lambda *paths: refuse())
    monkeypatch.setattr(atomic_files, "_rename_new", refuse)
    with pytest.raises(OSError, match="Invalid argument"):
        write_atomically(tmp_path / "part.h5", lambda file: None, replace=False)
    assert os.listdir(tmp_path) == []


def test_a_folder_is_listed_where_a_file_seems_to_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of an NFS client that remembers that a name led nowhere."""
    (tmp_path / "part.h5").touch()
    listed: list[Path] = []
    list_folder = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: listed.append(path) or list_folder(path))
    monkeypatch.setattr(Path, "exists", lambda path: bool(listed))
    assert is_visible(tmp_path / "part.h5")
    assert listed == [tmp_path]


@pytest.mark.parametrize("name", ["n" * 255, "ä" * 127])
def test_the_longest_name_that_a_file_may_have_can_be_written(tmp_path: Path, name: str) -> None:
    write_text_whole(tmp_path / name, "long")
    assert os.listdir(tmp_path) == [name]
    assert is_own_temporary(name_temporary(tmp_path / name))


def test_what_can_not_be_written_is_named_as_the_user_did(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=re.escape(f"'{tmp_path}/absent/file'")):
        write_text_whole(tmp_path / "absent" / "file", "text")
