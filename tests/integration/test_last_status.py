"""The last status, which who makes a dataset keeps in its folder: other processes tell it, and read the parts where it holds no more."""

import asyncio
from pathlib import Path

import pytest

from distillery.dataset.folder import LAST_STATUS
from distillery.errors import Unavailable
from distillery.generators.generator import Task
from distillery.planning.made_parts import MadeParts
from distillery.report.files import forget_report
from distillery.schema.dataset import Status
from gateway.dataset_statuses import DatasetStatuses
from gateway.store import Store
from gateway.stored_dataset import StoredDataset
from tests.integration.factory import RECIPE, factory, make, two_fakes, wait_for


async def tell(data: Path, name: str = "small") -> Status:
    """What another process says."""
    return await DatasetStatuses(Store(data), {}).tell(name)


def refuse(task: Task, call: int) -> None:
    raise Unavailable("the weights of other are missing; put them into /weights")


async def tell_once(data: Path) -> Status:
    """What another process says once something is asked again."""
    async with asyncio.timeout(10):
        while not (status := await tell(data)).retries:
            await asyncio.sleep(0.1)
    return status


def test_another_process_tells_what_is_in_the_way_of_a_run(tmp_path: Path) -> None:
    async def main() -> None:
        generators = two_fakes()
        generators["other"].script = refuse
        async with factory(tmp_path, generators, patience=5.0, tries=8) as client:
            await client.post("/v1/datasets", content=RECIPE)
            status = await tell_once(tmp_path)
            await client.post("/v1/datasets/small/cancel")
            events = (await client.get("/v1/datasets/small/events")).text
        assert status.state == "running"
        assert "put them into /weights" in status.retries[0].detail
        assert events.count("event: retry") == 1
        assert '"service": "other"' in events.partition("event: retry")[2]

    asyncio.run(main())


def test_once_it_failed_others_say_why_without_reading_a_part_and_with_other_parts_they_read_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> Status:
        generators = two_fakes()
        generators["other"].script = refuse
        generators["fake"].seconds = 60  # no part of it comes when the other has failed
        async with factory(tmp_path, generators) as client:
            return Status.model_validate(await make(client))

    own = asyncio.run(fail())
    with monkeypatch.context() as patched:
        patched.setattr(MadeParts, "make_plan", lambda *_: pytest.fail("the parts were read"))
        status = asyncio.run(tell(tmp_path))
    assert (status.state, status.problem) == ("failed", own.problem)
    assert set(status.sources) == {"one", "two"}
    part = tmp_path / "small" / "parts" / "full-one-00000.h5"
    part.parent.mkdir(exist_ok=True)
    part.write_bytes(b"not a part")
    status = asyncio.run(tell(tmp_path))
    assert status.problem is not None
    assert status.problem.kind == "corrupt_part"


def test_a_cancelled_dataset_is_told_so_and_a_finished_one_without_recipe_or_report_being_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        generators = two_fakes()
        generators["other"].seconds = 60
        async with factory(tmp_path, generators) as client:
            await client.post("/v1/datasets", content=RECIPE)
            await wait_for(client, "running")
            await client.post("/v1/datasets/small/cancel")
            assert (tmp_path / "small" / LAST_STATUS).is_file()
            status = await tell(tmp_path)
            assert (status.state, status.at_work) == ("cancelled", [])
            generators["other"].seconds = 0
            assert (await make(client))["state"] == "finished"

    asyncio.run(main())
    read = asyncio.run(read_anew(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr(StoredDataset, "read_recipe", lambda _: pytest.fail("the recipe was read"))
        patched.setattr(StoredDataset, "find_report", lambda *_: pytest.fail("the report was read"))
        assert asyncio.run(tell(tmp_path)) == read
    assert (read.state, read.verdict) == ("finished", "GO")
    (tmp_path / "small").rename(tmp_path / "other")
    assert asyncio.run(tell(tmp_path, "other")).name == "other"
    (tmp_path / "other").rename(tmp_path / "small")
    forget_report(tmp_path / "small")
    assert asyncio.run(tell(tmp_path)).state != "finished"


async def read_anew(data: Path) -> Status:
    """The status of the dataset by its recipe and report."""
    (data / "small" / LAST_STATUS).unlink()
    return await tell(data)


def test_one_that_can_not_be_read_is_as_none(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "small" / LAST_STATUS).write_text('{"seen": 1}')
    assert asyncio.run(tell(tmp_path)).state == "stopped"
