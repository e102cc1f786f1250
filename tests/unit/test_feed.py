"""The feeds of the live page: one making for all who look."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator

import pytest

from distillery.errors import NotFound
from gateway.live import feed as feeds
from gateway.live.feed import Feed, Pieces


class Maker:
    """Makes a piece that says how often it was made; raises at making `fails_at`."""

    def __init__(self, fails_at: int | None = None, error: Exception | None = None) -> None:
        self.n_made, self._fails_at, self._error = 0, fails_at, error or RuntimeError("spoilt")

    async def make(self) -> Pieces:
        self.n_made += 1
        if self.n_made == self._fails_at:
            raise self._error
        return {"state": f"<p>{self.n_made}</p>"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "_EVERY_SECONDS", 0.01)


async def take(events: AsyncIterator[str], n: int) -> list[str]:
    return [await anext(events) for _ in range(n)]


def test_fifty_who_look_are_sent_the_same_makings() -> None:
    async def main() -> None:
        maker = Maker()
        feed = Feed(maker.make)
        seen = await asyncio.gather(*(take(feed.follow(), 3) for _ in range(50)))
        assert len({tuple(own) for own in seen}) == 1
        assert maker.n_made <= 5

    asyncio.run(main())


def test_who_looks_again_at_what_no_longer_changes_waits_and_may_leave() -> None:
    async def main() -> float:
        async def make() -> Pieces:
            return {"state": "<p>finished</p>"}

        feed = Feed(make)
        first = feed.follow()
        await take(first, 1)
        await first.aclose()  # the end of its making comes after the start of the next
        again = asyncio.create_task(take(feed.follow(), 2))
        began = time.process_time()
        await asyncio.sleep(0.5)
        took = time.process_time() - began
        again.cancel()
        done, _ = await asyncio.wait({again}, timeout=10)
        assert done == {again}
        return took

    assert asyncio.run(main()) < 0.25  # of half a second: it does not spin


def test_what_is_gone_is_told_and_looked_for_again() -> None:
    async def main() -> None:
        events = Feed(Maker(2, NotFound("there is no dataset 'x'")).make).follow()
        assert await take(events, 3) == [
            "event: state\ndata: <p>1</p>\n\n",
            "event: gone\ndata: there is no dataset 'x'\n\n",
            "event: state\ndata: <p>3</p>\n\n",
        ]

    asyncio.run(main())


def test_a_fault_ends_the_stream_and_is_logged_once_and_who_asks_again_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        feed = Feed(Maker(2).make)
        assert [event async for event in feed.follow()] == ["event: state\ndata: <p>1</p>\n\n"]
        assert await take(feed.follow(), 2) == ["event: state\ndata: <p>1</p>\n\n", "event: state\ndata: <p>3</p>\n\n"]

    with caplog.at_level(logging.ERROR):
        asyncio.run(main())
    assert [record.getMessage() for record in caplog.records] == ["the live page can't be made; browsers ask for it again"]


def test_a_feed_is_kept_for_who_asked_for_it_and_has_not_begun_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    feed = Feed(Maker().make)
    assert not feed.is_over
    monkeypatch.setattr(feeds, "_UNUSED_SECONDS", -1.0)
    assert feed.is_over


def test_a_piece_that_is_empty_now_is_sent_as_an_event_that_browsers_take() -> None:
    async def main() -> None:
        texts = iter(["<p class=bad>it is away</p>", ""])

        async def make() -> Pieces:
            return {"problems": next(texts, "")}

        events = Feed(make).follow()
        assert await take(events, 2) == ["event: problems\ndata: <p class=bad>it is away</p>\n\n", "event: problems\ndata: \n\n"]

    asyncio.run(main())
