"""Requests that are large, deep, slow, broken off or made at random: each is answered or ended, and health is told meanwhile."""

import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from distillery.http.server import TimedProtocol
from distillery.runtime.atomic_files import write_text_whole
from tests.fuzz import SEEDS, attack, build_app
from tests.integration.factory import RECIPE
from tests.serving import serve

MIB = 1 << 20
N_SLOW = 50
PATIENCE = 1.0


@pytest.fixture(scope="module", params=list(SEEDS))
def app(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Name and URL of a running app."""
    with serve(build_app(request.param, tmp_path_factory.mktemp(request.param))) as url:
        yield request.param, url


@pytest.fixture
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TimedProtocol, "header_seconds", PATIENCE)
    monkeypatch.setattr("distillery.http.request_limits.BODY_SECONDS", PATIENCE)


def path_of(name: str) -> str:
    """Where an app takes a body."""
    return {"gateway": "/v1/datasets", "labeller": "/finalise", "service": "/generate"}[name]


def test_mutated_requests_are_answered_and_none_is_a_bug(app: tuple[str, str]) -> None:
    found = attack(app[0], urlsplit(app[1]).port or 0, n=300, seconds=60, seed=11)
    assert found.faults == []
    assert found.statuses.total() > 50
    assert {200, 400} <= found.statuses.keys()


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 5000,
        b"[" * (MIB - 1),
        b"[" + b"1," * (MIB // 4),
        b"{" + b'"a":{' * 400,
        json.dumps({f"k{i}": 1 for i in range(50_000)}).encode(),
    ],
    ids=["deep", "1 MB deep", "many", "nested", "keys"],
)
def test_health_is_told_while_a_hard_body_is_read(app: tuple[str, str], body: bytes) -> None:
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(httpx.post(app[1] + path_of(app[0]), content=body, timeout=60).status_code))
    asking.start()
    slowest = 0.0
    while asking.is_alive():
        start = time.monotonic()
        assert httpx.get(app[1] + "/v1/health/live", timeout=30).status_code == 200
        slowest = max(slowest, time.monotonic() - start)
    assert answers == [400]
    assert slowest < 8, "100 ms on a machine at rest; 26 s where it is read on the event loop"


def test_health_is_told_while_a_disk_takes_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writing, written = threading.Event(), threading.Event()

    def write_slowly(path: Path, text: str) -> None:
        writing.set()
        written.wait(60)
        write_text_whole(path, text)

    monkeypatch.setattr("gateway.stored_dataset.write_text_whole", write_slowly)
    answers: list[int] = []
    with serve(build_app("gateway", tmp_path)) as url:
        asking = threading.Thread(target=lambda: answers.append(httpx.post(url + "/v1/datasets", content=RECIPE, timeout=120).status_code))
        asking.start()
        assert writing.wait(30)
        assert httpx.get(url + "/v1/health/live", timeout=20).status_code == 200
        assert httpx.get(url + "/v1/datasets", timeout=20).json() == []
        written.set()
        asking.join()
    assert answers == [202]


def test_what_is_too_large_is_refused_before_it_is_there(app: tuple[str, str]) -> None:
    with socket.create_connection(("127.0.0.1", urlsplit(app[1]).port)) as connection:
        connection.sendall(f"POST {path_of(app[0])} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {10**9}\r\n\r\n".encode())
        connection.settimeout(30)
        assert connection.recv(12) == b"HTTP/1.1 413"


def test_what_grows_too_large_on_the_way_is_refused(app: tuple[str, str]) -> None:
    if app[0] == "labeller":
        pytest.skip("its limit is a setting, and large")
    pieces = (b"1," * 50_000 for _ in range(1000))
    with httpx.Client(timeout=30) as client, suppress(httpx.WriteError):  # refused and closed before all was sent
        assert client.post(app[1] + path_of(app[0]), content=pieces).status_code == 413
    assert httpx.get(app[1] + "/v1/health/live").status_code == 200


def test_slow_clients_do_not_stay(app: tuple[str, str], short_patience: None) -> None:
    """Some say nothing, some never end their headers, some their body."""
    begin = b"POST " + path_of(app[0]).encode() + b" HTTP/1.1\r\nHost: localhost\r\n"
    kinds = (b"", begin, begin + b"Content-Length: 1000\r\n\r\n12", begin + b"Transfer-Encoding: chunked\r\n\r\n2\r\n12")
    with ExitStack() as stack:
        clients = []
        for k in range(N_SLOW):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", urlsplit(app[1]).port)))
            client.sendall(kinds[k % len(kinds)])
            client.settimeout(30)
            clients.append(client)
        assert httpx.get(app[1] + "/v1/health/live").status_code == 200
        ends = [_read_to_the_end(client) for client in clients]
    assert {end[:12] for end in ends} <= {b"", b"HTTP/1.1 408", b"HTTP/1.1 400"}
    assert b"HTTP/1.1 408" in {end[:12] for end in ends} or app[0] == "labeller"


def _read_to_the_end(client: socket.socket) -> bytes:
    """All that comes until the server closes; TimeoutError if it does not."""
    found = b""
    try:
        while block := client.recv(65536):
            found += block
    except ConnectionResetError:
        pass
    return found


def test_a_client_that_takes_no_answer_does_not_stay(app: tuple[str, str], short_patience: None) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", urlsplit(app[1]).port))
        client.sendall(b"GET /docs-assets/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 4)
        time.sleep(3 * PATIENCE)
        client.settimeout(30)
        assert len(_read_to_the_end(client)) < 4 * MIB


def test_a_client_that_leaves_while_it_sends_is_no_bug(app: tuple[str, str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", urlsplit(app[1]).port)) as client:
                client.sendall(f"POST {path_of(app[0])} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n12".encode())
                time.sleep(0.05)
        counted = httpx.get(app[1] + "/metrics").text
    assert "failed" not in caplog.text
    assert 'status="500"' not in counted


@pytest.mark.parametrize("request_line", [b"GET /a b HTTP/1.1", b"nothing at all", b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000])
def test_what_is_no_http_is_a_problem_too(app: tuple[str, str], request_line: bytes) -> None:
    with socket.create_connection(("127.0.0.1", urlsplit(app[1]).port), 30) as client:
        client.sendall(request_line + b"\r\n\r\n")
        head, _, body = _read_to_the_end(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert b"content-type: application/problem+json" in head.lower()
    assert json.loads(body)["kind"] == "invalid_request"


def test_a_whole_url_is_a_target_as_its_path_is(app: tuple[str, str]) -> None:
    with socket.create_connection(("127.0.0.1", urlsplit(app[1]).port), 30) as client:
        client.sendall(b"GET http://elsewhere:80/v1/health/live HTTP/1.1\r\nHost: elsewhere\r\nConnection: close\r\n\r\n")
        assert _read_to_the_end(client).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("path", ["/docs-assets/%00", "/v1/%00", "/v1/health/live%0a"])
def test_paths_that_are_not_printable_are_not_found(app: tuple[str, str], path: str) -> None:
    answer = httpx.get(app[1] + path)
    assert (answer.status_code, answer.json()["kind"]) == (404, "not_found")


def test_queries_and_headers_with_control_characters_are_refused(app: tuple[str, str]) -> None:
    assert httpx.get(app[1] + "/v1/metadata?a=%00").json()["kind"] == "invalid_request"
    assert httpx.get(app[1] + "/v1/metadata", headers={"X-Name": "a\x01"}).status_code == 400


@pytest.mark.parametrize("text", ["a\\u0000", "\\ud800"], ids=["NUL", "surrogate"])
def test_text_that_can_not_be_written_is_refused(tmp_path: Path, text: str) -> None:
    with serve(build_app("service", tmp_path)) as url:
        answer = httpx.post(url + "/generate", content=f'{{"n": 1, "seed": 1, "options": {{"a": "{text}"}}}}')
    assert answer.status_code == 400
    assert "surrogate" in answer.json()["detail"]
