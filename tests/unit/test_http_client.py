"""The one HTTP client: what it makes of answers, and whom it can ask."""

import asyncio
import gc
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Response

from distillery.errors import Busy, Internal, InvalidRequest, NotFound, Problem, Unavailable
from distillery.generators.service import ServiceSettings, create_app
from distillery.http.address import read_address
from distillery.http.client import Client, EmbeddedServers, NetworkServers, RetryPolicy, Servers
from distillery.schema.generate import Metadata
from tests.fake_service import FakeGenerator

ONCE = RetryPolicy()
TIMEOUT = httpx.Timeout(5)


def answering(handle: Callable[[httpx.Request], httpx.Response], patience: RetryPolicy = ONCE, **options: bool) -> Client:
    http = httpx.AsyncClient(transport=httpx.MockTransport(handle), base_url="http://rdkit")
    return Client("rdkit", http, patience, **options)


def busy(*waits: str) -> Callable[[httpx.Request], httpx.Response]:
    """A server that is busy as often as there are waits, then answers."""
    left = list(waits)

    def handle(request: httpx.Request) -> httpx.Response:
        if not left:
            return httpx.Response(200)
        return httpx.Response(429, json=Busy("full").body(), headers={"Retry-After": left.pop(0)} if left[0] else {"X": left.pop(0)})

    return handle


def test_an_answer_becomes_the_message_it_should_be() -> None:
    async def main() -> Metadata:
        apps = {"fake": create_app(FakeGenerator(), ServiceSettings())}
        return await Client("fake", EmbeddedServers(apps).open("fake", TIMEOUT)).ask(Metadata, "GET", "/v1/metadata")

    assert asyncio.run(main()).service == "fake"


def test_an_answer_is_freed_with_its_last_reference_and_not_when_cycles_are_looked_for() -> None:
    client = answering(lambda request: httpx.Response(200, content=bytes(1000)))

    async def main() -> weakref.ref[httpx.Response]:
        answer = await client.send("GET", "/")
        assert answer.content == bytes(1000)
        return weakref.ref(answer)

    gc.disable()
    try:
        assert asyncio.run(main())() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b'{"service": 1}'])
def test_an_answer_that_is_something_else_is_named(content: bytes) -> None:
    client = answering(lambda request: httpx.Response(200, content=content))
    with pytest.raises(Internal, match="rdkit answered with something that is not a Metadata"):
        asyncio.run(client.ask(Metadata, "GET", "/v1/metadata"))


def test_a_redirect_is_no_answer() -> None:
    client = answering(lambda request: httpx.Response(307, headers={"Location": "https://elsewhere/v1"}))
    with pytest.raises(Unavailable, match=r"rdkit answered 307: it is at https://elsewhere/v1, so nothing was done"):
        asyncio.run(client.send("DELETE", "/v1/datasets/small"))


@pytest.mark.parametrize("url", ["http://", "http://[::1", "http://127.0.0.1:99999", "http://127.0.0.1:0", "https://:8000"])
def test_an_address_that_can_not_be_is_refused(tmp_path: Path, url: str) -> None:
    (tmp_path / "address").write_text(f"{url}\n")
    for given in (url, str(tmp_path / "address")):
        with pytest.raises(InvalidRequest, match="is no gateway's URL"):
            read_address(given)


@pytest.mark.parametrize(("names_answers", "says"), [(True, "rdkit: it is full"), (False, "it is full")])
def test_a_servers_problem_is_raised_as_it_is(names_answers: bool, says: str) -> None:
    client = answering(lambda request: httpx.Response(429, json=Busy("it is full").body()), names_answers=names_answers)
    with pytest.raises(Busy) as raised:
        asyncio.run(client.send("GET", "/"))
    assert raised.value.detail == says


def test_waits_that_the_server_asks_for_do_not_use_up_tries() -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    client = answering(busy("3", "3", "3"), RetryPolicy(tries=1, busy_seconds=60, sleep=sleep))
    assert asyncio.run(client.retry(lambda: client.send("GET", "/"))).status_code == 200
    assert waited == [3, 3, 3]


def test_other_waits_double_and_end_with_the_tries() -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    client = answering(busy("", "", "", "", ""), RetryPolicy(tries=4, wait=0.5, busy_seconds=60, sleep=sleep))
    with pytest.raises(Busy):
        asyncio.run(client.retry(lambda: client.send("GET", "/")))
    assert waited == [0.5, 1.0, 2.0]


def test_what_can_not_pass_is_not_tried_again() -> None:
    asked: list[httpx.Request] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(404, json=NotFound("no").body())

    client = answering(refuse, RetryPolicy(tries=5, wait=0))
    with pytest.raises(NotFound):
        asyncio.run(client.retry(lambda: client.send("GET", "/")))
    assert len(asked) == 1


@pytest.mark.parametrize("servers", [EmbeddedServers({"rdkit": FastAPI()}), NetworkServers({"rdkit": "http://127.0.0.1:9"})])
def test_only_servers_that_are_known_can_be_asked(servers: Servers) -> None:
    with pytest.raises(NotFound, match="no service 'rdkti'; did you mean 'rdkit'"):
        servers.open("rdkti", TIMEOUT)


def test_why_an_embedded_server_is_not_there_is_said() -> None:
    reason: Problem = Unavailable("rdkit is not installed")
    with pytest.raises(Unavailable, match="not installed"):
        EmbeddedServers({}, {"rdkit": reason}).open("rdkit", TIMEOUT)


def test_embedded_and_networked_servers_count_their_replicas() -> None:
    app: Any = FastAPI()
    app.get("/")(lambda: Response())
    assert asyncio.run(EmbeddedServers({"rdkit": app}).count_replicas("rdkit")) == 1
    assert asyncio.run(NetworkServers({"rdkit": "http://127.0.0.1:9"}).count_replicas("rdkit")) == 1
    assert asyncio.run(NetworkServers({"rdkit": "http://no-such-host.invalid"}).count_replicas("rdkit")) == 1
    assert asyncio.run(NetworkServers({}).count_replicas("rdkit")) == 1


def test_looking_at_datasets_needs_no_labeller(tmp_path: Path) -> None:
    """As in the gateway's image, where it is not installed."""
    show = "print(sorted(name for name in sys.modules if name.startswith('labeller')))"
    look = f"import sys; from cli.main import app; app(['status'], standalone_mode=False); {show}"
    done = subprocess.run([sys.executable, "-c", look], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
