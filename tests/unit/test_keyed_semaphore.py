"""KeyedSemaphore are bounded, follow the number of replicas, and requests go where there is least to do."""

import asyncio
from collections import Counter

import httpx
import pytest
from fastapi import FastAPI

from distillery.errors import Unavailable
from distillery.generators.service import ServiceSettings, create_app
from distillery.http import replicas
from distillery.http.replicas import ReplicaTransport
from distillery.schema.generate import GenerateRequest
from gateway import concurrency as turns
from gateway.clients import Batch, Clients
from gateway.settings import GatewaySettings
from tests.fake_service import FakeGenerator
from tests.serving import serve


def test_no_more_at_once_than_there_are_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_LOOK_AGAIN_SECONDS", 0.02)
    size, at_once, most = 2, Counter(), Counter()

    async def count(key: str) -> int:
        return size

    async def work(pool: turns.KeyedSemaphore, key: str) -> None:
        async with pool.take(key):
            at_once[key] += 1
            most[key, size] = max(most[key, size], at_once[key])
            await asyncio.sleep(0.01)
            at_once[key] -= 1

    async def main() -> None:
        nonlocal size
        pool = turns.KeyedSemaphore(count)
        await asyncio.gather(*(work(pool, key) for key in "ab" for _ in range(10)))
        size = 5
        await asyncio.sleep(0.03)
        await asyncio.gather(*(work(pool, "a") for _ in range(20)))

    asyncio.run(main())
    assert most["a", 2] == most["b", 2] == 2
    assert most["a", 5] == 5


def test_a_failure_stops_who_waits_for_the_turn_that_it_frees() -> None:
    ended = list[int]()

    async def count(key: str) -> int:
        return 1

    async def work(pool: turns.KeyedSemaphore, k: int) -> None:
        async with pool.take("a"):
            await asyncio.sleep(0.01)
            ended.append(k)
            raise Unavailable("lost")

    async def main() -> None:
        pool = turns.KeyedSemaphore(count)
        with pytest.raises(Unavailable):
            await turns.run_all(work(pool, k) for k in range(5))

    asyncio.run(main())
    assert ended == [0]


def test_a_freed_turn_goes_to_who_waits_longest_and_wakes_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    n, served, looks = 200, list[int](), 0

    async def look(key: str) -> int:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0)
        return 2

    async def work(pool: turns.KeyedSemaphore, k: int) -> None:
        async with pool.take("a"):
            served.append(k)
            await asyncio.sleep(0)

    async def main() -> None:
        pool = turns.KeyedSemaphore(look)
        monkeypatch.setattr(pool, "_size", look)
        await asyncio.gather(*(work(pool, k) for k in range(n)))

    asyncio.run(main())
    assert served == list(range(n))
    assert looks <= 3 * n


class Inner(httpx.AsyncBaseTransport):
    """Answers with the name it was asked for; `dead` ones refuse. `certified` are the names that a certificate must have."""

    def __init__(self) -> None:
        self.dead: set[str] = set()
        self.loading: set[str] = set()
        self.seen: Counter[str] = Counter()
        self.certified: set[str] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        address = request.url.host
        await asyncio.sleep(0.01)
        if address in self.dead:
            raise httpx.ConnectError("refused")
        if address in self.loading:
            return httpx.Response(503)
        self.seen[address] += 1
        self.certified.add(request.extensions["sni_hostname"])
        return httpx.Response(200, text=request.headers["Host"])


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> tuple[httpx.AsyncClient, Inner, list[str]]:
    addresses, inner, transport = ["10.0.0.1", "10.0.0.2", "10.0.0.3"], Inner(), ReplicaTransport()

    async def resolve(url: httpx.URL) -> list[str]:
        return list(addresses)

    monkeypatch.setattr(replicas, "resolve", resolve)
    transport._inner = inner
    return httpx.AsyncClient(transport=transport, base_url="http://rdkit:8000"), inner, addresses


def test_requests_are_spread_and_the_name_is_kept(fleet: tuple[httpx.AsyncClient, Inner, list[str]]) -> None:
    client, inner, _ = fleet

    async def main() -> list[httpx.Response]:
        return await asyncio.gather(*(client.get("/") for _ in range(30)))

    answers = asyncio.run(main())
    assert set(inner.seen.values()) == {10}
    assert {a.text for a in answers} == {"rdkit:8000"}
    assert inner.certified == {"rdkit"}


def test_a_dead_replica_is_avoided_and_a_new_one_is_found(fleet: tuple[httpx.AsyncClient, Inner, list[str]]) -> None:
    client, inner, addresses = fleet
    inner.dead = {"10.0.0.2"}

    async def main() -> int:
        failures = 0
        for _ in range(10):
            try:
                await client.get("/")
            except httpx.ConnectError:
                failures += 1
        addresses.append("10.0.0.4")
        for _ in range(10):
            await client.get("/")
        return failures

    assert asyncio.run(main()) == 1
    assert inner.seen["10.0.0.4"] > 0


def test_a_replica_that_is_still_loading_is_avoided(fleet: tuple[httpx.AsyncClient, Inner, list[str]]) -> None:
    client, inner, _ = fleet
    inner.loading = {"10.0.0.2"}

    async def main() -> list[int]:
        return [(await client.get("/")).status_code for _ in range(10)]

    assert sorted(asyncio.run(main())) == [200] * 9 + [503]


def test_localhost_resolves_and_nonsense_does_not() -> None:
    assert "127.0.0.1" in asyncio.run(replicas.resolve(httpx.URL("http://localhost:80")))
    with pytest.raises(httpx.ConnectError, match="no address for"):
        asyncio.run(replicas.resolve(httpx.URL("http://no-such-host.invalid:80")))


def test_any_number_of_requests_may_be_under_way() -> None:
    """All are answered once the last has come: more than a pool has connections as a rule."""
    n, app = 150, FastAPI()
    seen: list[int] = []

    @app.get("/{k}")
    async def wait_for_all(k: int) -> None:
        seen.append(k)
        while len(seen) < n:
            await asyncio.sleep(0.01)

    @app.get("/v1/health/live")
    async def live() -> None: ...

    async def main(url: str) -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=ReplicaTransport(), base_url=url, timeout=httpx.Timeout(20, pool=2)) as client:
            return await asyncio.gather(*(client.get(f"/{k}") for k in range(n)))

    with serve(app, wait_until_ready=False) as url:
        assert [answer.status_code for answer in asyncio.run(main(url))] == [200] * n


async def ask_for_three(url: str, **settings: float) -> Batch:
    clients = Clients(GatewaySettings(services={"fake": url}, tries=1, **settings))
    try:
        return await clients.generate("fake", GenerateRequest(n=3, seed=1))
    finally:
        await clients.close()


def test_an_answer_is_waited_for_as_long_as_its_structures_may_take() -> None:
    generator = FakeGenerator()
    generator.seconds = 1.0
    with serve(create_app(generator, ServiceSettings())) as url:
        assert len(asyncio.run(ask_for_three(url, generate_seconds=0.3, structure_seconds=10.0)).structures) == 3
        with pytest.raises(Unavailable, match="fake did not answer POST /generate in time"):
            asyncio.run(ask_for_three(url, generate_seconds=0.3, structure_seconds=0.1))


def test_a_connection_that_is_lost_ends_the_wait_at_once() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async def main() -> None:
        async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server, asyncio.timeout(20):
            await ask_for_three(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")

    with pytest.raises(Unavailable, match="fake can't be reached"):
        asyncio.run(main())
