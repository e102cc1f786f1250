"""Weights files: found, downloaded, resumed, recorded; from a real local server."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from contract.problems import Unavailable
from labeller.teachers.weights import ensure_weights, sha256_of

CONTENT = bytes(range(256)) * 4096


class Server(ThreadingHTTPServer):
    """Serves CONTENT; breaks off after `n_bytes` where that is set."""

    n_bytes: int | None = None
    understands_ranges = True
    ranges: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.understands_ranges else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        body = CONTENT[start:]
        self.wfile.write(body if self.server.n_bytes is None else body[: self.server.n_bytes])

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    made.ranges = []
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def url_of(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/forcefields/model.ckpt"


def test_missing_weights_are_downloaded_once_and_their_digest_recorded(server: Server, tmp_path: Path) -> None:
    weights = ensure_weights("orb-v2", url_of(server), tmp_path / "weights")
    assert weights.path.read_bytes() == CONTENT
    assert weights.sha256 == sha256_of(weights.path)
    assert ensure_weights("orb-v2", url_of(server), tmp_path / "weights") == weights
    assert len(server.ranges) == 1
    assert sorted(p.name for p in weights.path.parent.iterdir()) == ["model.ckpt", "model.ckpt.sha256"]
    assert weights.sha256 in (tmp_path / "weights" / "model.ckpt.sha256").read_text()


@pytest.mark.parametrize("understands_ranges", [True, False])
def test_a_download_that_broke_off_is_resumed(server: Server, tmp_path: Path, understands_ranges: bool) -> None:
    server.understands_ranges = understands_ranges
    server.n_bytes = 100_000
    with pytest.raises(Unavailable, match="Download it elsewhere"):
        ensure_weights("orb-v2", url_of(server), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["model.ckpt.partial"]
    server.n_bytes = None
    assert ensure_weights("orb-v2", url_of(server), tmp_path).path.read_bytes() == CONTENT
    assert server.ranges[0] is None
    assert server.ranges[1] is not None
    assert server.ranges[1].startswith("bytes=")


def test_a_partial_file_longer_than_the_whole_is_started_over(server: Server, tmp_path: Path) -> None:
    (tmp_path / "model.ckpt.partial").write_bytes(CONTENT + b"more")
    with pytest.raises(Unavailable, match="416"):
        ensure_weights("orb-v2", url_of(server), tmp_path)
    assert ensure_weights("orb-v2", url_of(server), tmp_path).path.read_bytes() == CONTENT


def test_changed_weights_are_refused_with_both_digests(server: Server, tmp_path: Path) -> None:
    weights = ensure_weights("orb-v2", url_of(server), tmp_path)
    weights.path.write_bytes(b"other")
    with pytest.raises(Unavailable) as problem:
        ensure_weights("orb-v2", url_of(server), tmp_path)
    assert weights.sha256 in problem.value.detail
    assert sha256_of(weights.path) in problem.value.detail


def test_a_given_path_wins_and_nothing_is_downloaded(server: Server, tmp_path: Path) -> None:
    given = tmp_path / "mine.ckpt"
    given.write_bytes(b"mine")
    assert ensure_weights("orb-v2", url_of(server), tmp_path / "weights", given).path == given
    assert server.ranges == []


def test_a_given_path_without_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"mine\.ckpt"):
        ensure_weights("orb-v2", "http://127.0.0.1:9/model.ckpt", tmp_path, tmp_path / "mine.ckpt")


def test_without_network_and_weights_it_says_which_file_from_where_and_how_by_hand(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as problem:
        ensure_weights("orb-v2", "http://127.0.0.1:9/model.ckpt", tmp_path)
    for named in (str(tmp_path / "model.ckpt"), "http://127.0.0.1:9/model.ckpt", "DISTILLERY_LABELLER_WEIGHTS_PATH", "orb-v2"):
        assert named in problem.value.detail
    assert list(tmp_path.iterdir()) == []
