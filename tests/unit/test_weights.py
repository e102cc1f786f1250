"""Weights: found, fetched from a real local server, resumed, recorded, refused; and what is said when they are missing."""

import hashlib
import io
import logging
import os
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gdown
import httpx
import pytest
import requests
import yaml
from filelock import FileLock
from gdown.exceptions import FileURLRetrievalError

from distillery.errors import InvalidRequest, Unavailable
from distillery.runtime.atomic_files import name_kind
from distillery.runtime.stopping import Stopped
from distillery.weights.catalogue import CheckpointFiles, ensure_checkpoint, read_catalogue, read_weights_file
from tests.file_server import FileServer, serve_files

ROOT = Path(__file__).parents[2]
CONTENT = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(CONTENT).hexdigest()
CONFIG = b"hidden: 8\n"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:81668ee1\nsize 461370350\n"
PAGE = b"\n<!DOCTYPE html><html><body>Please sign in</body></html>"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve_files(**{"model.ckpt": CONTENT, "config.yaml": CONFIG}) as made:
        yield made


@pytest.fixture
def service(tmp_path: Path, server: FileServer) -> Path:
    """A service folder whose weights.yaml has the set `base`: model.ckpt, of which no digest is published."""
    return make_service(tmp_path / "model", {"model.ckpt": {"url": f"{server.url}/model.ckpt"}})


def make_service(folder: Path, files: Mapping[str, Any], **more: Any) -> Path:
    folder.mkdir(exist_ok=True)
    catalogue = {"licence": "MIT", "source": "https://example.org", "sets": {"base": {"files": files}}, **more}
    (folder / "weights.yaml").write_text(yaml.safe_dump(catalogue))
    return folder


def ensure(service: Path, checkpoint: str = "base", **more: Any) -> CheckpointFiles:
    return ensure_checkpoint(service, checkpoint, service.parent / "weights", **{"download": True, **more})


def names(service: Path) -> list[str]:
    """What lies in the folder of the set, but for locks."""
    folder = service.parent / "weights" / service.name / "base"
    return sorted(path.name for path in folder.glob("[!.]*"))


def refusal(service: Path, checkpoint: str = "base", **more: Any) -> str:
    with pytest.raises(Unavailable) as problem:
        ensure(service, checkpoint, **more)
    return problem.value.detail


def test_missing_weights_are_fetched_once_and_their_digest_recorded(server: FileServer, service: Path) -> None:
    made = ensure(service)
    path = service.parent / "weights" / "model" / "base" / "model.ckpt"
    assert made == CheckpointFiles("base", {"model.ckpt": path}, SHA256)
    assert path.read_bytes() == CONTENT
    assert ensure(service) == made
    assert server.ranges == [None]
    assert names(service) == ["model.ckpt", "model.ckpt.sha256"]
    assert path.with_name("model.ckpt.sha256").read_text() == f"{SHA256}  model.ckpt\n"


def test_of_several_files_the_digest_is_over_digests_and_names(server: FileServer, tmp_path: Path) -> None:
    files = {"model.ckpt": {"url": f"{server.url}/model.ckpt", "sha256": SHA256}, "config.yaml": {"url": f"{server.url}/config.yaml"}}
    made = ensure(make_service(tmp_path / "model", files))
    lines = f"{hashlib.sha256(CONFIG).hexdigest()}  config.yaml\n{SHA256}  model.ckpt\n"
    assert made.sha256 == hashlib.sha256(lines.encode()).hexdigest()
    assert names(tmp_path / "model") == ["config.yaml", "config.yaml.sha256", "model.ckpt"]


@pytest.mark.parametrize("understands_ranges", [True, False])
@pytest.mark.parametrize("etag", [None, '"1"'])
def test_a_download_that_broke_off_goes_on(server: FileServer, service: Path, understands_ranges: bool, etag: str | None) -> None:
    server.understands_ranges, server.etag, server.breaks_after = understands_ranges, etag, 100_000
    assert "the next try goes on from there" in refusal(service)
    kept = service.parent / "weights" / "model" / "base" / "model.ckpt.partial"
    came = kept.stat().st_size
    assert 0 < came <= 100_000
    server.breaks_after = None
    assert ensure(service).sha256 == SHA256
    assert server.ranges == [None, f"bytes={came}-"]
    assert names(service) == ["model.ckpt", "model.ckpt.sha256"]


def test_a_file_that_changed_on_the_server_is_not_mixed_with_its_first_part(server: FileServer, service: Path) -> None:
    server.etag, server.breaks_after = '"1"', 100_000
    refusal(service)
    server.files["/model.ckpt"], server.etag, server.breaks_after = CONTENT[::-1], '"2"', None
    assert ensure(service).files["model.ckpt"].read_bytes() == CONTENT[::-1]


def test_what_had_come_whole_is_not_fetched_again(server: FileServer, service: Path) -> None:
    folder = service.parent / "weights" / "model" / "base"
    folder.mkdir(parents=True)
    (folder / "model.ckpt.partial").write_bytes(CONTENT)
    assert ensure(service).sha256 == SHA256
    assert server.ranges == [f"bytes={len(CONTENT)}-"]


def test_a_part_longer_than_the_whole_is_started_over(server: FileServer, service: Path) -> None:
    folder = service.parent / "weights" / "model" / "base"
    folder.mkdir(parents=True)
    (folder / "model.ckpt.partial").write_bytes(CONTENT + b"more")
    assert ensure(service).sha256 == SHA256
    assert server.ranges == [f"bytes={len(CONTENT) + 4}-", None]


def test_without_network_it_says_which_file_from_where_and_how_by_hand(tmp_path: Path) -> None:
    service = make_service(tmp_path / "model", {"model.ckpt": {"url": "http://127.0.0.1:9/model.ckpt", "bytes": 1 << 20}})
    detail = refusal(service)
    for named in (
        str(tmp_path / "weights/model/base/model.ckpt"),
        "http://127.0.0.1:9/model.ckpt",
        "(1.0 MiB)",
        "distillery weights pull model/base",
        "ConnectError",
    ):
        assert named in detail
    assert names(service) == []


def test_with_downloads_off_nothing_is_asked_of_the_server(server: FileServer, service: Path) -> None:
    detail = refusal(service, download=False)
    assert "downloads are off" in detail
    assert f"{server.url}/model.ckpt" in detail
    assert server.ranges == []


def test_a_file_that_is_not_there_any_more_is_named_with_the_status(server: FileServer, service: Path) -> None:
    del server.files["/model.ckpt"]
    assert "answered 404" in refusal(service)


@pytest.mark.parametrize(
    ("content", "named"), [(POINTER, "a git-lfs pointer"), (PAGE, "an HTML page"), (b"", "an empty file"), (b"short", "wanted 1048576")]
)
def test_something_else_in_place_of_the_file_is_set_aside_and_named(server: FileServer, tmp_path: Path, content: bytes, named: str) -> None:
    server.files["/model.ckpt"] = content
    service = make_service(tmp_path / "model", {"model.ckpt": {"url": f"{server.url}/model.ckpt", "bytes": len(CONTENT)}})
    assert named in refusal(service)
    assert names(service) == ["model.ckpt.refused"]
    server.files["/model.ckpt"] = CONTENT
    assert "model.ckpt.refused" in refusal(service)
    assert len(server.ranges) == 1
    (tmp_path / "weights/model/base/model.ckpt.refused").unlink()
    assert ensure(service).sha256 == SHA256


def test_a_wrong_digest_is_refused_with_both(server: FileServer, tmp_path: Path) -> None:
    service = make_service(tmp_path / "model", {"model.ckpt": {"url": f"{server.url}/model.ckpt", "sha256": "0" * 64}})
    detail = refusal(service)
    assert SHA256 in detail
    assert "0" * 64 in detail
    assert names(service) == ["model.ckpt.refused"]


@pytest.mark.parametrize(("content", "named"), [(POINTER, "a git-lfs pointer"), (b"other", "published")])
def test_a_wrong_file_placed_by_hand_is_named_and_left(server: FileServer, tmp_path: Path, content: bytes, named: str) -> None:
    service = make_service(tmp_path / "model", {"model.ckpt": {"url": f"{server.url}/model.ckpt", "sha256": SHA256}})
    path = tmp_path / "weights" / "model" / "base" / "model.ckpt"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert named in refusal(service)
    assert path.read_bytes() == content
    assert server.ranges == []


def test_changed_weights_are_refused_with_both_digests(service: Path) -> None:
    path = ensure(service).files["model.ckpt"]
    path.write_bytes(b"other")
    detail = refusal(service)
    assert SHA256 in detail
    assert hashlib.sha256(b"other").hexdigest() in detail


def test_a_file_fetched_again_must_be_the_one_recorded_before(server: FileServer, service: Path) -> None:
    ensure(service).files["model.ckpt"].unlink()
    server.files["/model.ckpt"] = b"another"
    detail = refusal(service)
    assert SHA256 in detail
    assert hashlib.sha256(b"another").hexdigest() in detail


def test_a_digest_that_cannot_be_recorded_is_logged_and_the_file_is_taken(service: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = service.parent / "weights" / "model" / "base"
    (folder / "model.ckpt.sha256").mkdir(parents=True)
    (folder / "model.ckpt").write_bytes(CONTENT)
    assert ensure(service).sha256 == SHA256
    assert "can't be recorded" in caplog.text


def test_a_folder_that_cannot_be_written_is_named(service: Path) -> None:
    (service.parent / "weights").write_text("a file in the way")
    assert "can't be written" in refusal(service)


def test_a_link_to_where_the_file_is_to_be_is_followed(service: Path) -> None:
    place, far = service.parent / "weights" / "model" / "base" / "model.ckpt", service.parent / "far"
    place.parent.mkdir(parents=True)
    place.symlink_to(far / "model.ckpt")
    assert "is a link that leads nowhere" in refusal(service)
    far.mkdir()
    ensure(service)
    assert place.is_symlink()
    assert (far / "model.ckpt").read_bytes() == CONTENT


def link_to_device(path: Path) -> None:
    path.symlink_to("/dev/full")


@pytest.mark.parametrize(("make", "what"), [(os.mkfifo, "a pipe"), (Path.mkdir, "a folder"), (link_to_device, "a device")])
def test_what_is_no_file_stays_what_it_is(server: FileServer, service: Path, make: Callable[[Path], object], what: str) -> None:
    place = service.parent / "weights" / "model" / "base" / "model.ckpt"
    place.parent.mkdir(parents=True)
    make(place)
    assert f"is {what}, where a file should be" in refusal(service)
    assert name_kind(place) == what
    assert server.ranges == []


def test_while_another_replica_fetches_a_file_it_waits_and_takes_that(server: FileServer, service: Path) -> None:
    folder = service.parent / "weights" / "model" / "base"
    folder.mkdir(parents=True)
    with ThreadPoolExecutor(1) as pool:
        with FileLock(folder / ".model.ckpt.lock"):
            waiting = pool.submit(ensure, service)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.3)
            (folder / "model.ckpt").write_bytes(CONTENT)
        assert waiting.result(timeout=10).sha256 == SHA256
    assert server.ranges == []


def test_a_stop_ends_the_wait_for_another_replica(service: Path) -> None:
    folder, stop = service.parent / "weights" / "model" / "base", threading.Event()
    folder.mkdir(parents=True)
    with ThreadPoolExecutor(1) as pool, FileLock(folder / ".model.ckpt.lock"):
        waiting = pool.submit(ensure, service, stop=stop)
        stop.set()
        with pytest.raises(Stopped):
            waiting.result(timeout=10)


def test_a_stop_ends_a_download_and_the_next_one_goes_on(server: FileServer, service: Path) -> None:
    stop = threading.Event()

    def stop_soon(name: str) -> Any:
        return lambda at, total: stop.set()

    with pytest.raises(Stopped):
        ensure(service, stop=stop, show=stop_soon)
    assert ensure(service).sha256 == SHA256
    assert server.ranges[1] is not None


def test_progress_is_told_and_logged(server: FileServer, service: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "distillery")
    server.files["/model.ckpt"] = CONTENT * 41
    told: list[tuple[str, int, int | None]] = []
    ensure(service, show=lambda name: lambda at, total: told.append((name, at, total)))
    assert told[-1] == ("model.ckpt", 41 << 20, 41 << 20)
    assert [at for _, at, _ in told] == sorted(at for _, at, _ in told)
    (service.parent / "weights" / "model" / "base" / "model.ckpt").unlink()
    ensure(service)
    assert "model.ckpt: 20 of 41 MiB (48 %)" in caplog.text


def test_a_member_of_an_archive_is_taken_out(server: FileServer, tmp_path: Path) -> None:
    server.files["/all.tar.gz"] = pack({"checkpoints/a.pt": CONTENT, "checkpoints/b.pt": b"b"})
    source = {"url": f"{server.url}/all.tar.gz", "member": "a.pt"}
    service = make_service(tmp_path / "model", {"a.pt": {**source, "bytes": len(CONTENT)}})
    assert ensure(service).files["a.pt"].read_bytes() == CONTENT
    assert names(service) == ["a.pt", "a.pt.sha256"]
    service = make_service(tmp_path / "other", {"c.pt": {**source, "member": "c.pt"}})
    assert "checkpoints/a.pt, checkpoints/b.pt" in refusal(service)
    server.files["/all.tar.gz"] = b"no archive" * 100
    service = make_service(tmp_path / "third", {"a.pt": source})
    assert "no tar archive" in refusal(service)


def pack(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def drive(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Google Drive behind gdown's two functions: a folder of files by path, which `error` makes fail."""
    made = SimpleNamespace(
        files={"weights/MolDiff.pt": CONTENT, "MolDiff_simple.pt": b"simple", "qm9/MolDiff_simple.pt": b"qm9"}, error=None
    )

    def download_folder(*, id: str, skip_download: bool, **_: Any) -> list[Any]:
        assert (id, skip_download) == ("folder", True)
        if made.error is not None:
            raise made.error
        return [SimpleNamespace(id=f"id of {path}", path=path) for path in made.files]

    def download(*, id: str, output: str, progress: Any, resume: bool, **_: Any) -> str:
        assert resume
        content = made.files[id.removeprefix("id of ")]
        Path(output).write_bytes(content)
        progress(len(content), len(content))
        return output

    monkeypatch.setattr(gdown, "download_folder", download_folder)
    monkeypatch.setattr(gdown, "download", download)
    return made


def drive_service(folder: Path, name: str) -> Path:
    return make_service(folder, {"model.pt": {"drive_folder": "folder", "name": name}})


@pytest.mark.parametrize(
    ("name", "content"), [("MolDiff.pt", CONTENT), ("MolDiff_simple.pt", b"simple"), ("qm9/MolDiff_simple.pt", b"qm9")]
)
def test_a_file_of_a_drive_folder_is_found_by_path_or_name(drive: SimpleNamespace, tmp_path: Path, name: str, content: bytes) -> None:
    assert ensure(drive_service(tmp_path / "model", name)).files["model.pt"].read_bytes() == content


def test_a_drive_folder_without_the_file_is_listed(drive: SimpleNamespace, tmp_path: Path) -> None:
    detail = refusal(drive_service(tmp_path / "model", "other.pt"))
    assert "weights/MolDiff.pt" in detail
    assert "https://drive.google.com/drive/folders/folder" in detail


@pytest.mark.parametrize("error", [FileURLRetrievalError("too many have viewed it"), requests.ConnectionError("no route")])
def test_a_drive_that_refuses_leads_to_placing_the_file_by_hand(drive: SimpleNamespace, tmp_path: Path, error: Exception) -> None:
    drive.error = error
    detail = refusal(drive_service(tmp_path / "model", "MolDiff.pt"))
    assert str(error) in detail
    assert f"put it at {tmp_path}/weights/model/base/model.pt" in detail


def test_without_gdown_it_says_so_and_how_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gdown", None)
    detail = refusal(drive_service(tmp_path / "model", "MolDiff.pt"))
    assert "pip install gdown" in detail
    assert f"put it at {tmp_path}/weights/model/base/model.pt" in detail


def test_a_stop_ends_a_download_from_drive(drive: SimpleNamespace, tmp_path: Path) -> None:
    stop = threading.Event()

    def stop_soon(name: str) -> Any:
        stop.set()
        return lambda at, total: None

    with pytest.raises(Stopped):
        ensure(drive_service(tmp_path / "model", "MolDiff.pt"), stop=stop, show=stop_soon)


def test_the_services_own_checkpoint_is_called_small(service: Path) -> None:
    assert "part of the repository" in refusal(service, "small")
    (service / "small").mkdir()
    for name, content in {"last.ckpt": CONTENT, "config.yaml": CONFIG, "train.py": b"", "README.md": b""}.items():
        (service / "small" / name).write_bytes(content)
    made = ensure(service, "small", download=False)
    assert made.is_small
    assert made.files == {"config.yaml": service / "small/config.yaml", "last.ckpt": service / "small/last.ckpt"}
    assert sorted(path.name for path in (service / "small").iterdir()) == ["README.md", "config.yaml", "last.ckpt", "train.py"]


def test_a_users_file_or_folder_is_taken_as_it_is(service: Path, server: FileServer, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "model.ckpt").write_bytes(CONTENT)
    (mine / "notes.txt").write_bytes(b"")
    expected = CheckpointFiles("model.ckpt", {"model.ckpt": mine / "model.ckpt"}, SHA256)
    assert ensure(service, str(mine / "model.ckpt")) == expected
    assert ensure(service, str(mine)) == replace(expected, name="mine")
    assert sorted(path.name for path in mine.iterdir()) == ["model.ckpt", "notes.txt"]
    assert server.ranges == []
    (mine / "model.ckpt").write_bytes(POINTER)
    assert "a git-lfs pointer" in refusal(service, str(mine))


def test_a_users_url_is_fetched_and_its_token_is_not_shown(service: Path, server: FileServer, tmp_path: Path) -> None:
    made = ensure(service, f"{server.url}/model.ckpt?token=secret")
    assert made.name == f"{server.url}/model.ckpt"
    assert made.sha256 == SHA256
    assert list(made.files) == ["model.ckpt"]
    assert ensure(service, f"{server.url}/model.ckpt?token=secret", download=False) == made
    assert "secret" not in refusal(service, f"{server.url}/other.ckpt?token=secret")


def test_no_secret_of_a_url_is_told_or_logged(service: Path, server: FileServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "distillery")
    address = server.url.removeprefix("http://")
    made = ensure(service, f"http://me:hunter2@{address}/model.ckpt?token=hunter2#hunter2")
    assert made.name == f"{server.url}/model.ckpt"
    told = caplog.text + refusal(service, f"http://me:hunter2@{address}/other.ckpt?token=hunter2")
    assert "model.ckpt" in told
    assert "hunter2" not in told


def test_a_single_file_is_found_whatever_its_name_and_others_by_their_ending(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("a.ckpt", "b.pt", "config.yaml", "content")}
    one, several = (CheckpointFiles("mine", chosen, SHA256) for chosen in ({"content": files["content"]}, files))
    assert one.find({".ckpt"}) == [files["content"]]
    assert several.find({".ckpt", ".pt"}) == [files["a.ckpt"], files["b.pt"]]


def test_where_no_set_is_known_the_note_says_what_to_do(tmp_path: Path) -> None:
    service = make_service(tmp_path / "model", {}, sets={}, note="see the page")
    for checkpoint in ("", "base"):
        assert refusal(service, checkpoint).endswith("see the page")


@pytest.mark.parametrize(
    ("checkpoint", "named"), [("bas", "did you mean 'base'?"), ("/nowhere/a.ckpt", "no file or folder /nowhere/a.ckpt")]
)
def test_an_unknown_checkpoint_is_named_with_what_is_near(service: Path, checkpoint: str, named: str) -> None:
    assert named in refusal(service, checkpoint)


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"a.pt": {}}, "either a url or a drive_folder and a name"),
        ({"a.pt": {"url": "https://example.org/a", "drive_folder": "x", "name": "a"}}, "either a url or a drive_folder and a name"),
        ({"a.pt": {"drive_folder": "x"}}, "either a url or a drive_folder and a name"),
        ({"a.pt": {"url": "https://example.org/a", "sha265": "0"}}, "did you mean 'sha256'?"),
        ({"a.pt": {"url": "ftp://example.org/a"}}, "ftp://example.org/a"),
        ({"../a.pt": {"url": "https://example.org/a"}}, "../a.pt"),
        ({}, "at least 1"),
    ],
)
def test_a_wrong_weights_file_says_what_is_wrong(tmp_path: Path, files: Mapping[str, Any], named: str) -> None:
    service = make_service(tmp_path / "model", files)
    with pytest.raises(InvalidRequest) as problem:
        read_catalogue(service)
    assert named in problem.value.detail
    assert "weights.yaml" in problem.value.detail


def test_no_set_may_be_called_small(tmp_path: Path) -> None:
    service = make_service(tmp_path / "model", {}, sets={"small": {"files": {"a.pt": {"url": "https://example.org/a"}}}})
    with pytest.raises(InvalidRequest, match="no set may be called small"):
        read_catalogue(service)


def test_a_weights_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    (tmp_path / "weights.yaml").write_text("sets: [")
    with pytest.raises(InvalidRequest, match=r"weights\.yaml is not YAML"):
        read_catalogue(tmp_path)


@pytest.mark.parametrize(
    "folder",
    sorted(path.parent for path in ROOT.glob("*/weights.yaml")) + sorted(path.parent for path in ROOT.glob("services/*/weights.yaml")),
    ids=lambda path: path.name,
)
def test_every_weights_file_is_right(folder: Path) -> None:
    catalogue = read_weights_file(folder)
    assert catalogue.licence in {"MIT", "Apache-2.0"}
    assert httpx.URL(catalogue.source).scheme == "https"
    assert catalogue.sets or catalogue.note
