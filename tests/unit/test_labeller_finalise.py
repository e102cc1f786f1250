"""Merging parts into dataset.h5."""

import asyncio
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import httpx
import numpy as np
import pytest

from distillery.dataset.folder import part_path
from distillery.dataset.layout import COLUMNS, open_dataset, read_arrays
from distillery.structures.identity import digest_structures, structure_hash
from labeller.app import create_labeller
from labeller.settings import LabellerSettings
from tests.fake_teacher import FakeTeacher, pair_label
from tests.labelling import RECIPE, mixed, receipt
from tests.serving import serve

PARTS = ("full-a-00000", "full-b-00000", "full-a-00001")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[httpx.Client]:
    """A labeller with three parts of five structures and an empty one."""
    app = create_labeller(FakeTeacher(), LabellerSettings(data=tmp_path, self_test=False))
    with serve(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        for part in PARTS:
            receipt(client, part, mixed(part, 5))
        receipt(client, "full-c-00000", [])
        yield client


def finalise(client: httpx.Client, parts: list[Any], **change: Any) -> httpx.Response:
    selections = [p if isinstance(p, dict) else {"part": p} for p in parts]
    return client.post(
        "/finalise", json={"dataset": "d", "recipe": "name: d\n", "recipe_sha256": RECIPE, "seed": 7, "parts": selections, **change}
    )


def content(path: Path) -> dict[str, list[Any]]:
    with h5py.File(path, "r") as file:
        return {name: file[name][:].tolist() for name in COLUMNS}


def test_a_dataset_holds_all_parts_in_the_order_asked_for(client: httpx.Client, tmp_path: Path) -> None:
    answer = finalise(client, [PARTS[0], "full-c-00000", PARTS[2], PARTS[1]]).json()
    expected = [*mixed(PARTS[0], 5), *mixed(PARTS[2], 5), *mixed(PARTS[1], 5)]
    with h5py.File(tmp_path / "d" / "dataset.h5", "r") as file:
        assert file["provenance/id"].asstr()[:].tolist() == [s.id for s in expected]
        assert file["labels/structure_indices"][:].tolist() == list(range(15))
        splits = file["structures/atomic_numbers_splits"][:]
        assert np.array_equal(splits, np.cumsum([0, *(len(s) for s in expected)]))
        assert np.array_equal(file["labels/forces_splits"][:], splits)
        for i, s in enumerate(expected):
            rows = slice(splits[i], splits[i + 1])
            assert np.array_equal(file["structures/atomic_numbers"][rows], s.numbers)
            assert np.array_equal(file["labels/forces"][rows], pair_label(s).forces)
            assert np.array_equal(file["structures/cells"][i], s.cell)
        for name, column in COLUMNS.items():
            assert file[name].filters == 0 if hasattr(file[name], "filters") else file[name].compression is None
            assert file[name].attrs.get("unit", "") == column.unit
    digest = digest_structures([s.id for s in expected], [structure_hash(s) for s in expected])
    assert answer["structures_sha256"] == digest
    assert answer["n_structures"] == 15
    assert answer["n_atoms"] == sum(len(s) for s in expected)
    assert answer["n_bytes"] == (tmp_path / "d" / "dataset.h5").stat().st_size


def test_the_metadata_says_where_all_comes_from(client: httpx.Client, tmp_path: Path) -> None:
    answer = finalise(client, list(PARTS)).json()
    with h5py.File(tmp_path / "d" / "dataset.h5", "r") as file:
        metadata = dict(file["metadata"].attrs)
    assert metadata["num_structures"] == 15
    assert metadata["total_atoms"] == answer["n_atoms"]
    assert (metadata["teacher_model"], metadata["teacher_version"], metadata["weights_sha256"]) == ("fake", "fake==1", "f" * 64)
    assert (metadata["recipe"], metadata["recipe_sha256"], metadata["seed"]) == ("name: d\n", RECIPE, 7)
    assert json.loads(metadata["versions"])["service rdkit: rdkit"] == "2025.9"
    assert json.loads(metadata["units"])["labels/stress"] == "eV/Å³"
    assert metadata["structures_sha256"] == answer["structures_sha256"]
    assert metadata["layout_version"]
    assert metadata["creation_time"]


def test_the_content_does_not_depend_on_the_order_in_which_parts_arrived(client: httpx.Client, tmp_path: Path) -> None:
    finalise(client, list(PARTS))
    for part in reversed(PARTS):
        receipt(client, part, mixed(part, 5), dataset="e")
    finalise(client, list(PARTS), dataset="e")
    assert content(tmp_path / "d" / "dataset.h5") == content(tmp_path / "e" / "dataset.h5")


def test_structures_to_leave_out_are_left_out(client: httpx.Client, tmp_path: Path) -> None:
    gone = [f"{PARTS[0]}/0000", f"{PARTS[0]}/0003"]
    answer = finalise(client, [{"part": PARTS[0], "leave_out": gone}, PARTS[1]]).json()
    ids = [id.decode() for id in content(tmp_path / "d" / "dataset.h5")["provenance/id"]]
    assert ids == [s.id for s in (*mixed(PARTS[0], 5), *mixed(PARTS[1], 5)) if s.id not in gone]
    assert answer["n_structures"] == 8


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param(["full-c-00000"], id="nothing was labelled"),
        pytest.param([{"part": PARTS[0], "leave_out": [f"{PARTS[0]}/{k:04d}" for k in range(5)]}], id="all is left out"),
    ],
)
def test_a_dataset_may_be_empty(client: httpx.Client, tmp_path: Path, parts: list[Any]) -> None:
    answer = finalise(client, parts).json()
    assert (answer["n_structures"], answer["n_atoms"]) == (0, 0)
    with open_dataset(tmp_path / "d" / "dataset.h5") as file:
        arrays = read_arrays(file)
    splits = {name for name, column in COLUMNS.items() if column.rows == "split"}
    assert {name for name, rows in arrays.items() if rows.tolist() == [0]} == splits
    assert {name for name, rows in arrays.items() if len(rows) == 0} == COLUMNS.keys() - splits


def test_finalising_again_leaves_the_file_as_it_is(client: httpx.Client, tmp_path: Path) -> None:
    path = tmp_path / "d" / "dataset.h5"
    first = finalise(client, list(PARTS)).json()
    before = path.stat()
    assert finalise(client, list(PARTS)).json() == first
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.stat().st_ino == before.st_ino


def test_another_selection_or_a_damaged_file_is_made_anew(client: httpx.Client, tmp_path: Path) -> None:
    path = tmp_path / "d" / "dataset.h5"
    finalise(client, list(PARTS))
    assert finalise(client, list(PARTS[:2])).json()["n_structures"] == 10
    whole = content(path)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    assert finalise(client, list(PARTS[:2])).status_code == 200
    assert content(path) == whole


@pytest.mark.parametrize(
    ("parts", "change", "status", "named"),
    [
        (["full-z-00000"], {}, 404, "full-z-00000"),
        ([PARTS[0]], {"recipe_sha256": "b" * 64}, 409, "another recipe"),
        ([PARTS[0], PARTS[0]], {}, 400, PARTS[0]),
        ([{"part": PARTS[0], "leave_out": ["nobody"]}], {}, 400, "nobody"),
        ([], {}, 400, "at least one part"),
        ([PARTS[0]], {"dataset": "../d"}, 400, "dataset"),
        (["../../etc"], {}, 400, "part"),
    ],
)
def test_what_cannot_be_merged_is_refused_by_name(
    client: httpx.Client, tmp_path: Path, parts: list[Any], change: dict[str, Any], status: int, named: str
) -> None:
    response = finalise(client, parts, **change)
    assert response.status_code == status, response.text
    assert named in response.json()["detail"]
    assert not (tmp_path / "d" / "dataset.h5").exists()


def test_a_corrupt_part_stops_the_merge_and_keeps_the_old_file(client: httpx.Client, tmp_path: Path) -> None:
    finalise(client, list(PARTS[:2]))
    before = (tmp_path / "d" / "dataset.h5").read_bytes()
    damaged = part_path(tmp_path / "d", PARTS[2])
    damaged.write_bytes(damaged.read_bytes()[:-1])
    response = finalise(client, list(PARTS))
    assert response.json()["kind"] == "corrupt_part"
    assert str(damaged) in response.json()["detail"]
    assert (tmp_path / "d" / "dataset.h5").read_bytes() == before


def test_parts_of_two_teachers_are_not_mixed(client: httpx.Client, tmp_path: Path) -> None:
    other = create_labeller(FakeTeacher(weights_sha256="e" * 64), LabellerSettings(data=tmp_path, self_test=False))
    with serve(other) as url, httpx.Client(base_url=url, timeout=30) as second:
        receipt(second, "full-e-00000", mixed("full-e-00000", 2))
    response = finalise(client, [PARTS[0], "full-e-00000"])
    assert response.status_code == 409
    assert "full-e-00000" in response.json()["detail"]
    assert f"weights {'e' * 12}" in response.json()["detail"]


def test_finalising_removes_what_killed_writers_left(client: httpx.Client, tmp_path: Path) -> None:
    (tmp_path / "d" / "parts" / ".x.h5.host-1-abc.tmp").write_bytes(b"half")
    (tmp_path / "d" / ".dataset.h5.host-1-abc.tmp").write_bytes(b"half")
    finalise(client, list(PARTS))
    assert [p for p in (tmp_path / "d").rglob("*") if p.name.endswith(".tmp")] == []


def test_a_full_disk_names_the_folder_and_leaves_no_trace(tmp_path: Path) -> None:
    """A real limit of the file's size, in a process of its own; parts fit beneath it, the dataset does not."""
    script = f"""
        import asyncio, resource, httpx
        from pathlib import Path
        from labeller.app import create_labeller
        from labeller.settings import LabellerSettings
        from tests.fake_teacher import FakeTeacher
        from tests.labelling import RECIPE, mixed, record
        from distillery.structures.arrow import ARROW_TYPE, to_arrow

        async def main():
            app = create_labeller(FakeTeacher(), LabellerSettings(data=Path({str(tmp_path)!r}), self_test=False))
            async with app.router.lifespan_context(app), httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://l") as c:
                while (await c.get("/v1/health/ready")).status_code != 200:
                    await asyncio.sleep(0.01)
                async def label(part):
                    return await c.post("/label", params=dict(dataset="d", part=part), content=to_arrow(mixed(part, 300), record()),
                                        headers={{"Content-Type": ARROW_TYPE}})
                for part in "pq":
                    assert (await label(part)).status_code == 200
                size = max(p.stat().st_size for p in Path({str(tmp_path)!r}).rglob("*.h5"))
                merge = dict(dataset="d", recipe="", recipe_sha256=RECIPE, seed=7, parts=[dict(part="p"), dict(part="q")])
                for limit, ask in ((size // 2, lambda: label("r")), (size, lambda: c.post("/finalise", json=merge))):
                    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
                    answer = await ask()
                    print(answer.status_code, answer.json()["kind"], answer.json()["detail"])
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
                print(sorted(p.name for p in Path({str(tmp_path)!r}).rglob("*") if p.is_file()))
                print((await label("r")).status_code, (await c.post("/finalise", json=merge)).status_code)

        asyncio.run(main())
    """
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=root, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    first, second, names, after = done.stdout.splitlines()
    assert first.startswith(f"503 unavailable {tmp_path / 'd' / 'parts'} can't be written: File too large")
    assert second.startswith(f"503 unavailable {tmp_path / 'd'} can't be written: File too large")
    assert names == "['p.h5', 'q.h5']"
    assert after == "200 200"


@pytest.mark.skipif(os.geteuid() == 0, reason="needs a user whom a read-only folder stops: this is root")
def test_a_read_only_folder_is_named(client: httpx.Client, tmp_path: Path) -> None:
    (tmp_path / "d").chmod(0o500)
    response = finalise(client, list(PARTS))
    (tmp_path / "d").chmod(0o700)
    assert response.status_code == 503
    assert str(tmp_path / "d") in response.json()["detail"]


def test_in_the_embedded_mode_a_cancelled_request_writes_no_part(tmp_path: Path) -> None:
    async def run() -> None:
        teacher = FakeTeacher()
        app = create_labeller(teacher, LabellerSettings(data=tmp_path, workers=1, self_test=False))
        transport = httpx.ASGITransport(app)
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://labeller") as client:
            while (await client.get("/v1/health/ready")).status_code != 200:
                await asyncio.sleep(0.01)
            teacher.gate.clear()
            asking = asyncio.create_task(_label(client, "p", 30))
            while not teacher.entered.is_set():
                await asyncio.sleep(0.01)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            assert asking.cancelled()
            assert len(app.state.labeller.running.engine.waiting) == 0
            teacher.gate.set()
            assert (await _label(client, "q", 3)).status_code == 200
            assert not part_path(tmp_path / "d", "p").exists()

    asyncio.run(run())


async def _label(client: httpx.AsyncClient, part: str, n: int) -> httpx.Response:
    from distillery.structures.arrow import ARROW_TYPE, to_arrow
    from tests.labelling import record

    return await client.post(
        "/label",
        params={"dataset": "d", "part": part},
        content=to_arrow(mixed(part, n), record()),
        headers={"Content-Type": ARROW_TYPE},
    )
