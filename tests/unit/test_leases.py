"""Leases: who is there, who is lost, and whose requests are given up."""

import asyncio
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from distillery.errors import Conflict, Unavailable
from distillery.http.leases import Leases
from distillery.http.replicas import ReplicaTransport
from distillery.schema.replica import Announcement

URL = "http://10.0.0.1:4000"


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def announce(url: str = URL, **changes: Any) -> Announcement:
    return Announcement(**{"name": "rdkit", "url": url, "version": "1.0", "is_ready": True, **changes})


def urls_of(leases: Leases, name: str = "rdkit") -> list[str]:
    return [tenant.announcement.url for tenant in leases.find(name)]


def test_a_replica_is_there_until_it_has_been_silent_for_its_lease() -> None:
    clock = Clock()
    leases = Leases(30, clock)
    assert leases.renew("a", announce()).seconds == 30
    clock.now = 29
    leases.renew("a", announce())
    clock.now = 58
    assert urls_of(leases) == [URL]
    clock.now = 59
    assert urls_of(leases) == []
    leases.renew("a", announce())
    assert urls_of(leases) == [URL]


def test_one_that_loads_is_asked_only_where_no_other_is_there() -> None:
    leases = Leases()
    leases.renew("a", announce(is_ready=False))
    assert urls_of(leases) == [URL]
    leases.renew("b", announce("http://10.0.0.2:4000"))
    assert urls_of(leases) == ["http://10.0.0.2:4000"]
    assert len(leases.list_all()) == 2


def test_a_process_that_has_the_address_of_another_takes_its_place() -> None:
    leases = Leases()
    leases.renew("a", announce())
    leases.renew("b", announce())
    assert [replica.id for replica in leases.list_all()] == ["b"]


@pytest.mark.parametrize("changes", [{"version": "1.1"}, {"teacher": "orb-v2"}, {"contract": "0.9"}])
def test_a_replica_that_makes_something_else_is_refused(changes: dict[str, str]) -> None:
    leases = Leases()
    leases.renew("a", announce())
    with pytest.raises(Conflict):
        leases.renew("b", announce("http://10.0.0.2:4000", **changes))
    leases.leave("a")
    leases.renew("b", announce("http://10.0.0.2:4000", version="1.1"))


@pytest.mark.parametrize(
    "url",
    [
        *("10.0.0.1:80", "ftp://a:1", "http://a", "http://a:0", "http://a:70000", "http://a:1/path", "http://u@a:1"),
        *("http://999.0.0.1:80", "http://[:::]:80", "http://a..b:80", f"http://{'a' * 64}.org:80"),
    ],
)
def test_an_address_is_scheme_host_and_port(url: str) -> None:
    with pytest.raises(ValidationError):
        announce(url)


class Silent(httpx.AsyncBaseTransport):
    """Answers at 10.0.0.2, refuses at 10.0.0.3, and elsewhere takes what comes and says nothing."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.given_up = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.host)
        if request.url.host == "10.0.0.2":
            return httpx.Response(200)
        if request.url.host == "10.0.0.3":
            raise httpx.ConnectError("refused")
        try:
            await asyncio.Event().wait()
        finally:
            self.given_up += 1
        raise AssertionError


def open_client(leases: Leases, inner: Silent) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=ReplicaTransport("rdkit", leases, looks_up=False, connections=inner), base_url="http://rdkit")


def test_a_request_to_a_replica_that_is_lost_is_given_up_and_the_next_goes_elsewhere() -> None:
    leases, inner = Leases(0.1), Silent()

    async def main() -> None:
        async with open_client(leases, inner) as client:
            leases.renew("a", announce())
            with pytest.raises(httpx.ReadError, match="its lease ended"):
                await client.get("/")
            leases.renew("b", announce("http://10.0.0.2:4000"))
            assert (await client.get("/")).status_code == 200

    asyncio.run(main())
    assert inner.asked == ["10.0.0.1", "10.0.0.2"]
    assert inner.given_up == 1


def test_one_that_left_may_finish_what_it_has() -> None:
    leases, inner = Leases(0.1), Silent()

    async def main() -> None:
        async with open_client(leases, inner) as client:
            leases.renew("a", announce())
            asking = asyncio.ensure_future(client.get("/"))
            while not inner.asked:
                await asyncio.sleep(0)
            leases.leave("a")
            await asyncio.wait({asking}, timeout=0.3)
            assert not asking.done()
            assert urls_of(leases) == []
            asking.cancel()

    asyncio.run(main())


def test_one_that_refuses_connections_is_lost_at_once_and_then_one_is_waited_for() -> None:
    leases, inner = Leases(), Silent()

    async def main() -> None:
        async with open_client(leases, inner) as client:
            leases.renew("a", announce("http://10.0.0.3:4000"))
            with pytest.raises(httpx.ConnectError):
                await client.get("/")
            with pytest.raises(Unavailable) as raised:
                await client.get("/")
            assert raised.value.retry_after == 2

    asyncio.run(main())


def test_answers_are_counted() -> None:
    leases = Leases()

    async def main() -> None:
        async with open_client(leases, Silent()) as client:
            leases.renew("a", announce("http://10.0.0.2:4000"))
            await client.get("/")

    asyncio.run(main())
    assert [replica.answered for replica in leases.list_all()] == [1]
