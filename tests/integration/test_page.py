"""The page over HTTP: made at the end of a run, and on demand before that."""

import asyncio
import json
from pathlib import Path

import pytest

from distillery.dataset.folder import PAGE
from gateway.page_jobs import PageJobs
from tests.integration.factory import factory, make, two_fakes, until


def test_a_finished_run_leaves_its_page_and_serves_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with factory(tmp_path, two_fakes(), page=True) as client:
            status = await make(client, seconds=240)
            assert status["state"] == "finished", status
            assert status["has_page"]
            written = (tmp_path / "small" / PAGE).read_bytes()
            diversity = json.loads((tmp_path / "small" / "report.json").read_text())["diversity"]
            assert set(diversity["too_small"]) | set(diversity["entropy"]) == {"one", "two"}
            answer = await client.get("/v1/datasets/small/report.html")
            assert answer.content == written
            assert answer.headers["content-type"].startswith("text/html")
            assert PAGE in {row["path"] for row in (await client.get("/v1/datasets/small/files")).json()}

    asyncio.run(main())


def test_a_page_asked_for_before_the_end_shows_the_parts_so_far(tmp_path: Path) -> None:
    async def main() -> None:
        generators = two_fakes()
        async with factory(tmp_path, generators) as client:
            await make(client)
        (tmp_path / "small" / "report.json").unlink()
        (tmp_path / "small" / "parts" / "full-two-00001.h5").unlink()
        async with factory(tmp_path, generators) as client:
            answer = await client.get("/v1/datasets/small/report.html", timeout=240)
            assert "IN PROGRESS" in answer.text
            assert not (tmp_path / "small" / PAGE).exists()

    asyncio.run(main())


def test_one_page_is_made_for_all_that_ask_meanwhile_also_if_they_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, asked, all_have_asked, read = [], [], asyncio.Event(), PageJobs.read

    async def make_page(folder: Path) -> bytes:
        made.append(folder)
        await all_have_asked.wait()
        return f"page {len(made)}".encode()

    async def note(self: PageJobs, folder: Path) -> bytes:
        asked.append(folder)
        return await read(self, folder)

    monkeypatch.setattr("gateway.page_jobs.make_page_aside", make_page)
    monkeypatch.setattr(PageJobs, "read", note)

    async def main() -> None:
        async with factory(tmp_path, two_fakes()) as client:
            await make(client)
            impatient = [asyncio.create_task(client.get("/v1/datasets/small/report.html")) for _ in range(3)]
            await until(lambda: len(asked) == 3)
            for one in impatient:
                one.cancel()
            patient = [asyncio.create_task(client.get("/v1/datasets/small/report.html")) for _ in range(3)]
            await until(lambda: len(asked) == 6)
            all_have_asked.set()
            assert [answer.text for answer in await asyncio.gather(*patient)] == ["page 1"] * 3
            assert (await client.get("/v1/datasets/small/report.html")).text == "page 2"

    asyncio.run(main())
    assert len(made) == 2


def test_a_page_that_can_not_be_made_keeps_the_verdict_from_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distillery.report.page.subprocess.sys.executable", "/bin/false")

    async def main() -> None:
        async with factory(tmp_path, two_fakes(), page=True) as client:
            status = await make(client)
            assert (status["state"], status["verdict"]) == ("finished", "GO")
            assert not status["has_page"]
            events = (await client.get("/v1/datasets/small/events")).text
            assert "event: page" in events
            assert "distillery report" in events

    asyncio.run(main())
    assert "diversity" not in json.loads((tmp_path / "small" / "report.json").read_text())


def test_a_page_that_can_not_be_made_says_why(tmp_path: Path) -> None:
    async def main() -> None:
        async with factory(tmp_path, two_fakes()) as client:
            await make(client)
            (tmp_path / "small" / "parts" / "full-one-00000.h5").write_bytes(b"broken")
            answer = await client.get("/v1/datasets/small/report.html", timeout=240)
            assert answer.status_code == 500
            assert "full-one-00000.h5 is corrupt" in answer.json()["detail"]

    asyncio.run(main())
