"""What a program does with the gateway beside making a dataset: delete, filter, be told, generate and label without one."""

import asyncio
import hashlib
import hmac
import io
import json
import re
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from ase.io import read
from starlette.datastructures import Headers

from distillery.errors import InvalidRequest
from distillery.structures.arrow import ARROW_TYPE, from_arrow, to_arrow, to_json
from gateway.formats import EXTXYZ_TYPE, choose_format
from tests.integration.factory import RECIPE, factory, make, two_fakes, wait_for
from tests.labelling import methane, silicon, water


def use(data: Path, act: Callable[[httpx.AsyncClient], Awaitable[Any]], **changes: Any) -> Any:
    async def main() -> Any:
        async with factory(data, two_fakes(), **changes) as client:
            return await act(client)

    return asyncio.run(main())


def test_a_deleted_dataset_is_gone_and_its_name_is_free(tmp_path: Path) -> None:
    async def act(client: httpx.AsyncClient) -> None:
        await make(client)
        assert (await client.delete("/v1/datasets/small")).status_code == 204
        assert (await client.get("/v1/datasets")).json() == []
        assert list(tmp_path.iterdir()) == []
        assert (await make(client, RECIPE.replace("seed: 1", "seed: 2")))["state"] == "finished"

    use(tmp_path, act)


def test_a_dataset_that_is_being_made_is_deleted_only_once_it_is_cancelled(tmp_path: Path) -> None:
    async def main() -> None:
        generators = two_fakes()
        generators["fake"].seconds = 30
        async with factory(tmp_path, generators) as client:
            await client.post("/v1/datasets", content=RECIPE)
            refused = await client.delete("/v1/datasets/small")
            assert refused.status_code == 409
            assert "cancel it" in refused.json()["detail"]
            await client.post("/v1/datasets/small/cancel")
            await wait_for(client, "cancelled")
            assert (await client.delete("/v1/datasets/small")).status_code == 204
            assert (await client.delete("/v1/datasets/small")).status_code == 404

    asyncio.run(main())


def test_a_restart_removes_what_a_kill_left_of_a_deleted_dataset(tmp_path: Path) -> None:
    (tmp_path / ".deleted-small-0123" / "parts").mkdir(parents=True)
    assert use(tmp_path, lambda client: client.get("/v1/datasets"), resume=True).json() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("state=finished", ["large", "small"]),
        ("state=paused", []),
        ("verdict=GO&contains=sma", ["small"]),
        ("verdict=NO-GO", []),
        ("teacher=fake&limit=1", ["large"]),
        ("teacher=nobody", []),
    ],
)
def test_datasets_are_listed_by_what_is_asked_of_them(two: Path, query: str, names: list[str]) -> None:
    async def act(client: httpx.AsyncClient) -> list[str]:
        return [row["name"] for row in (await client.get(f"/v1/datasets?{query}")).raise_for_status().json()]

    assert use(two, act) == names


def test_the_next_page_of_a_list_has_the_same_filter(two: Path) -> None:
    async def act(client: httpx.AsyncClient) -> tuple[str, list[str]]:
        first = await client.get("/v1/datasets?limit=1&verdict=GO")
        link = first.links["next"]["url"]
        return link, [row["name"] for row in (await client.get(link)).json()]

    link, names = use(two, act)
    assert "verdict=GO" in link
    assert names == ["small"]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the finished datasets `large` and `small`."""
    data = tmp_path_factory.mktemp("two")

    async def act(client: httpx.AsyncClient) -> None:
        await make(client)
        await make(client, RECIPE.replace("name: small", "name: large"))

    use(data, act)
    return data


class Receiver(HTTPServer):
    """Takes webhooks; the first it gets it refuses."""

    def __init__(self) -> None:
        self.came: list[tuple[dict[str, str], bytes]] = []
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Receiver)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.came.append((dict(self.headers), body))
        self.send_response(500 if len(self.server.came) == 1 else 204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            await asyncio.to_thread(server.shutdown)
            thread.join()


def test_a_webhook_is_told_of_the_verdict_and_the_end_signed_and_again_if_it_failed(tmp_path: Path) -> None:
    async def main() -> None:
        async with receiving() as server:
            hooks = {"webhooks": [f"http://127.0.0.1:{server.server_port}/told"], "webhook_secret": "a secret"}
            async with factory(tmp_path, two_fakes(), **hooks) as client:
                await make(client)
                async with asyncio.timeout(20):
                    while len(server.came) < 3:
                        await asyncio.sleep(0.01)
            signed = hmac.new(b"a secret", server.came[0][1], hashlib.sha256).hexdigest()
            assert server.came[0][0]["Distillery-Signature"] == f"sha256={signed}"
            told = {headers["Distillery-Delivery"]: json.loads(body) for headers, body in server.came}
            assert sorted((one["dataset"], one["event"]["event"]) for one in told.values()) == [("small", "finished"), ("small", "verdict")]

    asyncio.run(main())


def test_the_log_says_why_a_notice_is_not_taken_also_where_nothing_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gateway.webhooks._LONGEST", 0.2)

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            async with receiving() as server:
                hooks = [f"http://127.0.0.1:{port}/" for port in (silent.getsockname()[1], server.server_port)]
                async with factory(tmp_path, two_fakes(), webhooks=hooks) as client:
                    await make(client)
                    async with asyncio.timeout(20):
                        while not re.search("try 2 of 5: (Read)?Timeout", caplog.text) or len(server.came) < 2:
                            await asyncio.sleep(0.01)
        assert f"{server.server_port}/… of small, try 1 of 5: it answered 500" in caplog.text

    asyncio.run(main())


def test_the_address_of_a_webhook_is_a_secret_and_no_log_has_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with receiving() as server:
            hooks = [f"http://me:swordfish@127.0.0.1:{server.server_port}/services/T0/B0/swordfish?token=swordfish"]
            async with factory(tmp_path, two_fakes(), webhooks=hooks) as client:
                await make(client)
                async with asyncio.timeout(20):
                    while len(server.came) < 2:
                        await asyncio.sleep(0.01)
                    while "it answered 500" not in caplog.text:
                        await asyncio.sleep(0.01)

    with caplog.at_level("DEBUG", "distillery"):
        asyncio.run(main())
    assert "swordfish" not in caplog.text.replace("httpx", "")
    assert "/… of small, try 1 of 5: it answered 500" in caplog.text


ASK = {"service": "fake", "n": 120, "seed": 3, "system": "cluster", "min_atoms": 4, "max_atoms": 9}


def generate(data: Path, accept: str, **changes: Any) -> httpx.Response:
    answer = use(data, lambda client: client.post("/v1/generate", json={**ASK, **changes}, headers={"Accept": accept}))
    assert isinstance(answer, httpx.Response)
    return answer


def test_structures_of_a_service_come_as_arrow_json_and_extended_xyz_alike(tmp_path: Path) -> None:
    arrow, _ = from_arrow(generate(tmp_path, ARROW_TYPE).content)
    as_json = generate(tmp_path, "application/json").json()
    frames = read(io.StringIO(generate(tmp_path, EXTXYZ_TYPE).text), ":", format="extxyz")
    ids = [structure.id for structure in arrow]
    assert len(set(ids)) == 120
    assert ids == [row["id"] for row in as_json["structures"]] == [atoms.info["id"] for atoms in frames]
    assert np.allclose(np.concatenate([s.positions for s in arrow]), np.concatenate([atoms.positions for atoms in frames]))
    assert (as_json["requested"], as_json["rejected"]) == (120, {})


def test_the_same_request_for_structures_gives_the_same_bytes(tmp_path: Path) -> None:
    assert generate(tmp_path, ARROW_TYPE).content == generate(tmp_path, ARROW_TYPE).content


@pytest.mark.parametrize(
    ("changes", "status"), [({"service": "nobody"}, 404), ({"service": "labeller"}, 404), ({"elements": ["Xx"]}, 400), ({"n": 0}, 400)]
)
def test_structures_that_can_not_be_made_are_a_problem(tmp_path: Path, changes: dict[str, Any], status: int) -> None:
    assert generate(tmp_path, ARROW_TYPE, **changes).status_code == status


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("Chemical/X-extxyz", "extxyz"),
        ("chemical/x-extxyz;q=0.1, application/json", "json"),
        ("application/json;q=0, */*", "arrow"),
        (f"{ARROW_TYPE};q=0, */*", "json"),
        ("text/html, application/*;q=0.5", "arrow"),
        ("", "arrow"),
    ],
)
def test_the_format_is_the_one_that_a_client_wants_most(accept: str, wanted: str) -> None:
    assert choose_format(Headers({"accept": accept}), ("arrow", "json", "extxyz")) == wanted


@pytest.mark.parametrize("accept", ["chemical/x-cif", "application/json;q=0, text/html", "application/json;q=much", ARROW_TYPE])
def test_an_answer_in_no_form_that_a_client_wants_is_refused(accept: str) -> None:
    with pytest.raises(InvalidRequest, match=f"can be application/json, {EXTXYZ_TYPE}; the header Accept wants"):
        choose_format(Headers({"accept": accept}), ("json", "extxyz"))


@pytest.mark.parametrize(
    ("headers", "body", "said"),
    [
        ({"Content-Encoding": "gzip"}, b"{}", "Content-Encoding gzip; send it unpacked"),
        ({}, b'{"service": "fake", "n": 1, "n": 3, "seed": 1}', "key 'n' is given twice"),
    ],
)
def test_a_body_that_could_mean_something_else_is_refused(tmp_path: Path, headers: dict[str, str], body: bytes, said: str) -> None:
    answer = use(tmp_path, lambda client: client.post("/v1/generate", content=body, headers=headers))
    assert (answer.status_code, said in answer.json()["detail"]) == (400, True)


def test_structures_are_labelled_without_a_dataset_whatever_form_they_come_in(tmp_path: Path) -> None:
    structures = [water("w/0"), methane("m/0"), silicon("s/0")]
    bodies = {ARROW_TYPE: to_arrow(structures), "application/json": json.dumps({"structures": to_json(structures)["structures"]})}

    async def act(client: httpx.AsyncClient) -> None:
        found = []
        for content_type, body in bodies.items():
            answer = await client.post("/v1/label", content=body, headers={"Content-Type": content_type, "Accept": "application/json"})
            found.append(answer.raise_for_status().json()["labels"])
        assert found[0] == found[1]
        assert [label["id"] for label in found[0]] == ["w/0", "m/0", "s/0"]
        assert [label["stress"] is None for label in found[0]] == [True, True, False]
        text = (
            await client.post("/v1/label", content=bodies[ARROW_TYPE], headers={"Content-Type": ARROW_TYPE, "Accept": EXTXYZ_TYPE})
        ).text
        again = await client.post("/v1/label", content=text, headers={"Content-Type": EXTXYZ_TYPE})
        assert [label["energy"] for label in again.json()["labels"]] == [label["energy"] for label in found[0]]
        frames = read(io.StringIO(text), ":", format="extxyz")
        assert np.allclose(frames[0].get_forces(), found[0][0]["forces"])

    use(tmp_path, act)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("media_type", [ARROW_TYPE, "application/json", EXTXYZ_TYPE])
def test_what_is_generated_can_be_labelled_as_it_came(tmp_path: Path, media_type: str) -> None:
    async def act(client: httpx.AsyncClient) -> Any:
        wanted = {"service": "fake", "n": 3, "seed": 1, "system": "cluster", "elements": ["H", "C"]}
        made = (await client.post("/v1/generate", json=wanted, headers={"Accept": media_type})).raise_for_status().content
        return (await client.post("/v1/label", content=made, headers={"Content-Type": media_type})).raise_for_status().json()

    assert [label["id"] for label in use(tmp_path, act)["labels"]] == [f"fake-1-00000/000{k}" for k in range(3)]


def test_a_structure_that_no_teacher_should_see_is_named_and_the_others_are_labelled(tmp_path: Path) -> None:
    crowded = water("w/1")
    crowded.positions[1] = crowded.positions[0] + 0.01

    async def act(client: httpx.AsyncClient) -> Any:
        body = to_arrow([water("w/0"), crowded])
        return (await client.post("/v1/label", content=body, headers={"Content-Type": ARROW_TYPE})).json()

    found = use(tmp_path, act)
    assert [label["id"] for label in found["labels"]] == ["w/0"]
    assert [reject["id"] for reject in found["rejected"]] == ["w/1"]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [("text/plain", b"x"), (EXTXYZ_TYPE, b"no structure"), ("application/json", b"{}"), (ARROW_TYPE, to_arrow([water("w"), water("w")]))],
)
def test_what_is_no_list_of_structures_is_refused(tmp_path: Path, content_type: str, body: bytes) -> None:
    answer = use(tmp_path, lambda client: client.post("/v1/label", content=body, headers={"Content-Type": content_type}))
    assert answer.status_code == 400


def test_text_files_are_compressed_where_that_is_understood(two: Path) -> None:
    async def act(client: httpx.AsyncClient) -> None:
        path = "/v1/datasets/small/files/report.json"
        packed = await client.get(path, headers={"Accept-Encoding": "gzip"})
        plain = await client.get(path, headers={"Accept-Encoding": "identity"})
        assert packed.headers["Content-Encoding"] == "gzip"
        assert packed.content == plain.content
        assert packed.headers["ETag"] != plain.headers["ETag"]
        assert (await client.get(path, headers={"Accept-Encoding": "gzip", "If-None-Match": packed.headers["ETag"]})).status_code == 304
        piece = await client.get(path, headers={"Accept-Encoding": "gzip", "Range": "bytes=0-9"})
        assert (piece.status_code, piece.content) == (206, plain.content[:10])

    use(two, act)
