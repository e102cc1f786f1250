"""The gateway as an HTTP server: pages of datasets, HEAD, ETag, ranges, and statuses that say what is the case."""

import asyncio
import gzip
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.status import list_statuses
from distillery.dataset.folder import LAST_STATUS
from distillery.generators.service import ServiceSettings, create_app
from distillery.http.client import Client, EmbeddedServers, open_client
from gateway.app import create_gateway
from gateway.settings import GatewaySettings
from gateway.store import Store
from labeller.app import create_labeller
from labeller.settings import LabellerSettings
from tests.fake_service import FakeGenerator
from tests.fake_teacher import FakeTeacher
from tests.fuzz import build_app
from tests.integration.factory import RECIPE, factory, make, settings_for, two_fakes
from tests.integration.many import multiply
from tests.serving import serve

N = 60
PAGE = "<p>a page</p>" * 1000


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a finished dataset `small`, which has a page, and as many as N that differ by their names."""
    data = tmp_path_factory.mktemp("many")

    async def make_small() -> None:
        async with factory(data, two_fakes()) as client:
            await make(client)

    asyncio.run(make_small())
    (data / "small" / "report.html").write_text(PAGE)
    multiply(data, "small", N)
    return data


@asynccontextmanager
async def reading(data: Path, **changes: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway that has neither services nor a labeller."""
    app = create_gateway(settings_for(data, **changes), EmbeddedServers({}))
    async with app.router.lifespan_context(app), open_client(app, "gateway", httpx.Timeout(60)) as client:
        yield client


def ask(data: Path, use: Callable[[httpx.AsyncClient], Awaitable[httpx.Response]], **changes: Any) -> httpx.Response:
    async def main() -> httpx.Response:
        async with reading(data, **changes) as client:
            return await use(client)

    return asyncio.run(main())


def get(data: Path, path: str, **headers: str) -> httpx.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(data, lambda client: client.get(path, headers={"Accept-Encoding": "identity", **names}))


def test_datasets_are_listed_page_by_page(many: Path) -> None:
    async def main() -> list[list[str]]:
        pages, path = [], "/v1/datasets?limit=25"
        async with reading(many) as client:
            while path:
                answer = (await client.get(path)).raise_for_status()
                pages.append([row["name"] for row in answer.json()])
                path = answer.links.get("next", {}).get("url", "")
        return pages

    pages = asyncio.run(main())
    assert [len(page) for page in pages] == [25, 25, N + 1 - 50]
    assert [name for page in pages for name in page] == sorted(path.name for path in many.iterdir())


def test_the_command_lists_all_pages(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> list[str]:
        async with reading(many) as http:
            return [status.name for status in await list_statuses(Client("the gateway", http), limit=25)]

    assert len(asyncio.run(main())) == N + 1


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=many", "cursor=" + "a" * 256])
def test_a_page_that_can_not_be_is_refused(many: Path, query: str) -> None:
    assert get(many, f"/v1/datasets?{query}").status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("GET", "/v1/datasets?limt=3", "GET /v1/datasets has no parameter 'limt'; did you mean 'limit'?"),
        ("POST", "/v1/datasets?untill=pilot", "POST /v1/datasets has no parameter 'untill'; did you mean 'until'?"),
        ("POST", "/v1/datasets/small/resume?stage=full", "POST /v1/datasets/small/resume has no parameter 'stage'; there are none here"),
        ("GET", "/v1/datasets?limit=3&limit=5", "GET /v1/datasets takes one value of 'limit'; 2 came"),
    ],
)
def test_a_parameter_that_there_is_not_or_that_comes_twice_is_refused(many: Path, method: str, path: str, said: str) -> None:
    answer = ask(many, lambda client: client.request(method, path, content=RECIPE if path.startswith("/v1/datasets?unt") else None))
    assert (answer.status_code, answer.json()["detail"]) == (400, said)


@pytest.mark.parametrize("path", ["/v1/health/live?by=probe", "/metrics?name[]=up", "/v1/datasets/small/report.html?v=2"])
def test_what_machines_and_pages_ask_for_takes_parameters_of_theirs(many: Path, path: str) -> None:
    assert ask(many, lambda client: client.get(path)).status_code == 200


def test_a_finished_dataset_is_read_again_only_if_its_files_changed(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    for folder in many.iterdir():
        (folder / LAST_STATUS).unlink(missing_ok=True)

    async def main() -> list[Any]:
        from gateway.stored_dataset import StoredDataset

        read_recipe = StoredDataset.read_recipe
        monkeypatch.setattr(StoredDataset, "read_recipe", lambda own: read.append(own.name) or read_recipe(own))
        async with reading(many) as client:
            before = (await client.get("/v1/datasets")).json()
            assert len(read) == N + 1
            again = (await client.get("/v1/datasets")).json()
            assert len(read) == N + 1
            (many / "small-0007" / "report.html").unlink()
            after = (await client.get("/v1/datasets")).json()
            assert read[N + 1 :] == ["small-0007"]
            return [before, again, after]

    before, again, after = asyncio.run(main())
    assert before == again
    changed = [(one, other) for one, other in zip(before, after, strict=True) if one != other]
    assert [(one["name"], one["has_page"], other["has_page"]) for one, other in changed] == [("small-0007", True, False)]


def test_a_restarted_gateway_has_read_what_is_finished(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with reading(many, resume=True) as client:
            monkeypatch.setattr("gateway.stored_dataset.StoredDataset.read_recipe", lambda own: pytest.fail(f"{own.name} is read again"))
            assert len((await client.get("/v1/datasets")).json()) == N + 1

    asyncio.run(main())


def test_health_is_told_while_many_datasets_are_looked_at(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list waits for health, which would wait for ever if the list were made where health is told."""
    import threading

    told = threading.Event()
    monkeypatch.setattr("gateway.stored_dataset.StoredDataset.list_parts", lambda own: told.wait(30) and [])

    async def main() -> None:
        async with reading(many) as client:
            listing = asyncio.ensure_future(client.get("/v1/datasets?limit=1"))
            await asyncio.sleep(0)
            assert (await client.get("/v1/health/live")).status_code == 200
            told.set()
            assert (await listing).status_code == 200

    asyncio.run(main())
    assert told.is_set()


def test_what_is_not_there_is_named_alone(many: Path) -> None:
    answer = get(many, "/v1/datasets/smal")
    assert answer.status_code == 404
    assert "'smal'" in answer.json()["detail"]
    assert "small-0001" not in answer.text
    assert str(many) not in answer.text


@pytest.mark.parametrize("name", ["%2e%2e", "..%2f..", ".", "a%00b", "a" * 300, "%ff", "small%2f..%2fsmall", "caf%C3%A9"])
def test_a_name_that_is_none_is_not_found(many: Path, name: str) -> None:
    assert get(many, f"/v1/datasets/{name}/files").status_code == 404


def test_head_is_answered_wherever_get_is(many: Path) -> None:
    paths = ["/v1/health/live", "/v1/health/ready", "/v1/metadata", "/metrics", "/docs", "/openapi.json", "/v1/datasets"]
    paths += [f"/v1/datasets/small{rest}" for rest in ("", "/plan", "/files", "/report.html", "/files/dataset.h5", "/events")]
    with serve(create_gateway(settings_for(many))) as url, httpx.Client(base_url=url, headers={"Accept-Encoding": "identity"}) as client:
        for path in paths:
            head, whole = client.head(path), client.get(path)
            assert (head.status_code, head.content) == (200, b""), path
            assert head.headers["content-type"] == whole.headers["content-type"], path
        assert client.head("/v1/datasets/small/pause").status_code == 405
        assert client.head("/v1/datasets/nothing").status_code == 404
        head = client.head("/v1/datasets/small/files/dataset.h5")
        assert int(head.headers["content-length"]) == (many / "small" / "dataset.h5").stat().st_size


@pytest.mark.parametrize("path", ["report.html", "files/dataset.h5", "files/report.json"])
def test_what_the_client_has_is_not_sent_again(many: Path, path: str) -> None:
    first = get(many, f"/v1/datasets/small/{path}")
    etag = first.headers["etag"]
    for known in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        again = get(many, f"/v1/datasets/small/{path}", If_None_Match=known)
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag), known
    assert get(many, f"/v1/datasets/small/{path}", If_None_Match='"other"').content == first.content


def test_every_file_that_is_listed_is_sent_with_a_tag_and_in_ranges(many: Path) -> None:
    paths = [file["path"] for file in get(many, "/v1/datasets/small/files").json()]
    assert {"recipe.yaml", "README.md", "croissant.json", "dataset.h5"} <= set(paths)
    for path in paths:
        content = (many / "small" / path).read_bytes()
        whole, piece = get(many, f"/v1/datasets/small/files/{path}"), get(many, f"/v1/datasets/small/files/{path}", Range="bytes=2-5")
        assert (whole.status_code, whole.content, piece.status_code, piece.content) == (200, content, 206, content[2:6]), path
        assert whole.headers["etag"], path
        assert whole.headers.get("vary") == (None if path.endswith(".h5") else "Accept-Encoding"), path


def test_the_page_is_compressed_where_that_is_understood(many: Path) -> None:
    plain = get(many, "/v1/datasets/small/report.html")
    packed = get(many, "/v1/datasets/small/report.html", Accept_Encoding="br, gzip;q=0.5")
    assert plain.text == packed.text == PAGE
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < len(gzip.compress(PAGE.encode())) + 100
    assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"
    assert plain.headers["etag"] != packed.headers["etag"]


def test_a_header_that_comes_twice_counts_as_one(many: Path) -> None:
    headers = [("Accept-Encoding", "br"), ("Accept-Encoding", "gzip")]
    packed = ask(many, lambda client: client.get("/v1/datasets/small/report.html", headers=headers))
    assert packed.headers["content-encoding"] == "gzip"


@pytest.mark.parametrize("path", ["report.html", "files/report.html"])
def test_the_page_is_not_compressed_for_who_says_so(many: Path, path: str) -> None:
    plain = get(many, f"/v1/datasets/small/{path}", Accept_Encoding="gzip;q=0, br")
    assert "content-encoding" not in plain.headers
    assert plain.text == PAGE


@pytest.mark.parametrize("path", ["report.html", "files/dataset.h5"])
def test_a_file_that_has_changed_is_not_sent_to_who_wants_the_one_before(many: Path, path: str) -> None:
    etag = get(many, f"/v1/datasets/small/{path}").headers["etag"]
    assert get(many, f"/v1/datasets/small/{path}", If_Match=f'"before", {etag}').status_code == 200
    refused = get(many, f"/v1/datasets/small/{path}", If_Match='"before"')
    assert (refused.status_code, refused.headers["content-type"]) == (412, "application/problem+json")


def test_a_range_of_a_file_is_sent_and_one_that_is_not_there_is_a_problem(many: Path) -> None:
    path, size = "/v1/datasets/small/files/dataset.h5", (many / "small" / "dataset.h5").stat().st_size
    part = get(many, path, Range="bytes=1-3")
    assert (part.status_code, part.content) == (206, (many / "small" / "dataset.h5").read_bytes()[1:4])
    for wanted, status in ((f"bytes={size}-", 416), ("bytes=9-3", 400), (f"bytes={size}-,{size + 9}-", 416)):
        refused = get(many, path, Range=wanted)
        assert (refused.status_code, refused.headers["content-type"]) == (status, "application/problem+json"), wanted
        assert refused.json()["status"] == status
    assert get(many, path, Range=f"bytes={size}-").headers["content-range"] == f"bytes */{size}"


def test_of_several_ranges_those_are_sent_that_are_there_and_other_units_are_left_aside(many: Path) -> None:
    path, content = "/v1/datasets/small/files/dataset.h5", (many / "small" / "dataset.h5").read_bytes()
    size = len(content)
    for wanted in (f"bytes=1-3,{size}-", f"bytes={size + 5}-{size + 9},1-3", "bytes=-0,1-3"):
        part = get(many, path, Range=wanted)
        assert (part.status_code, part.content) == (206, content[1:4]), wanted
        assert part.headers["content-range"] == f"bytes 1-3/{size}"
    several = get(many, path, Range=f"bytes=0-1,4-5,{size}-")
    assert several.headers["content-type"].startswith("multipart/byteranges")
    assert several.content.count(b"Content-Range") == 2
    assert get(many, path, Range="rows=1-2").content == content


def test_a_file_that_was_changed_is_not_sent_to_who_wants_it_unchanged(many: Path) -> None:
    path = "/v1/datasets/small/files/dataset.h5"
    changed = get(many, path).headers["last-modified"]
    assert get(many, path, If_Unmodified_Since=changed).status_code == 200
    assert get(many, path, If_Unmodified_Since="Thu, 01 Jan 2015 00:00:00 GMT").status_code == 412


def test_what_only_looks_like_a_dataset_or_a_part_hides_none(tmp_path: Path) -> None:
    """A recipe that is a pipe was waited for without end, by the list and at the start; a name that is no UTF-8 was a 500."""
    latin = os.fsdecode(b"caf\xe9")
    for name in ("pipe", "folder", "sound", latin):
        (tmp_path / name / "parts").mkdir(parents=True)
        if name in {"sound", latin}:
            (tmp_path / name / "recipe.yaml").write_text(RECIPE)
    os.mkfifo(tmp_path / "pipe" / "recipe.yaml")
    (tmp_path / "folder" / "recipe.yaml").mkdir()
    (tmp_path / "sound" / "parts" / f"{latin}.h5").touch()
    assert Store(tmp_path).list_names() == ["sound"]
    with serve(build_app("gateway", tmp_path)) as url:
        assert httpx.get(f"{url}/v1/datasets", timeout=60).status_code == 200
        assert [file["path"] for file in httpx.get(f"{url}/v1/datasets/sound/files", timeout=60).json()] == ["recipe.yaml"]


def test_a_path_without_end_is_refused_in_few_words(many: Path) -> None:
    for path in ("/v1/datasets/" + 9000 * "a", "/v1/datasets?cursor=" + 9000 * "a"):
        refused = get(many, path)
        assert refused.status_code == 414
        assert len(refused.content) < 1000


def test_the_whole_file_is_sent_to_who_has_a_piece_of_another_one(many: Path) -> None:
    """As a download that goes on does, once the file is another and perhaps shorter."""
    path, content = "/v1/datasets/small/files/dataset.h5", (many / "small" / "dataset.h5").read_bytes()
    own = get(many, path).headers["etag"]
    for wanted in (f"bytes={len(content)}-", "bytes=1-3"):
        whole = get(many, path, Range=wanted, If_Range='"before"')
        assert (whole.status_code, whole.content) == (200, content), wanted
    assert get(many, path, Range="bytes=1-3", If_Range=own).content == content[1:4]
    assert get(many, path, Range=f"bytes={len(content)}-", If_Range=own).status_code == 416


def test_a_file_that_has_not_been_changed_since_is_not_sent_again(many: Path) -> None:
    path = "/v1/datasets/small/files/dataset.h5"
    changed = get(many, path).headers["last-modified"]
    assert get(many, path, If_Modified_Since=changed).status_code == 304
    for date in ("Thu, 01 Jan 2015 00:00:00 GMT", "yesterday", ""):
        assert get(many, path, If_Modified_Since=date).status_code == 200, date
    assert get(many, path, If_Modified_Since=changed, If_None_Match='"other"').status_code == 200, "the tag decides where both are given"


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/datasets", "GET, HEAD, POST"),
        ("/v1/datasets/small", "DELETE, GET, HEAD"),
        ("/v1/datasets/small/pause", "POST"),
        ("/v1/datasets/small/files/recipe.yaml", "GET, HEAD"),
        ("/docs-assets/favicon.png", "GET, HEAD"),
    ],
)
def test_a_method_that_is_not_allowed_is_told_those_that_are(many: Path, path: str, methods: str) -> None:
    refused = ask(many, lambda client: client.request("PATCH", path))
    assert (refused.status_code, refused.headers["allow"]) == (405, methods)


def test_a_recipe_that_is_too_large_is_413(many: Path) -> None:
    answer = ask(many, lambda client: client.post("/v1/datasets", content=RECIPE + "#" * (1 << 20)))
    assert (answer.status_code, answer.json()["kind"]) == (413, "too_large")


@pytest.mark.parametrize(("verb", "status"), [("pause", 409), ("cancel", 409), ("resume", 200)])
def test_a_finished_dataset_says_so_to_whoever_would_change_it(many: Path, verb: str, status: int) -> None:
    def list_times() -> dict[Path, int]:
        said = {"state.json", LAST_STATUS}
        return {path: path.stat().st_mtime_ns for path in (many / "small-0003").rglob("*") if path.name not in said}

    files = list_times()
    answer = ask(many, lambda client: client.post(f"/v1/datasets/small-0003/{verb}"))
    assert answer.status_code == status
    if status == 200:
        assert answer.json()["state"] == "finished"
    else:
        assert "is finished" in answer.json()["detail"]
    assert files == list_times()


@pytest.mark.parametrize("servers", [None, EmbeddedServers({})], ids=["by the network", "embedded"])
def test_a_service_that_nobody_set_up_is_not_found_and_never_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, servers: EmbeddedServers | None
) -> None:
    monkeypatch.setattr("distillery.http.replicas.resolve", lambda url: pytest.fail(f"{url} is looked up"))

    async def main() -> httpx.Response:
        app = create_gateway(settings_for(tmp_path, services={"mine": "http://mine.example:8000"}), servers)
        async with open_client(app, "gateway", httpx.Timeout(30)) as client:
            return await client.get("/v1/services/metadata-server")

    answer = asyncio.run(main())
    assert (answer.status_code, answer.json()["kind"]) == (404, "not_found")


def test_a_report_of_before_is_read_and_would_be_written_the_same() -> None:
    """Written by the version before reports had a schema."""
    from distillery.report.files import read_report

    folder = Path(__file__).parents[1] / "data" / "report_of_before"
    report = read_report(folder)
    assert report is not None
    again, stored = report.as_json(), json.loads((folder / "report.json").read_text())
    since = [again["teacher"].pop("self_test"), *(source.pop("teacher_calls") for source in again["sources"].values())]
    assert since == [None] * len(since)
    assert {gate.pop("detail") for gate in again["gates"]} == {""}
    assert {checkpoint.pop("step") for checkpoint in (*again["checkpoints"], *again["stages"])} == {0}
    assert again == stored


def test_a_source_whose_service_nobody_set_up_falls_back_over_the_network_too(tmp_path: Path) -> None:
    recipe = RECIPE.replace("service: fake, system: cluster, count: 20", "service: nowhere, system: cluster, count: 20, fallback: two")
    service = create_app(FakeGenerator("other"), ServiceSettings())
    labeller = create_labeller(FakeTeacher(), LabellerSettings(data=tmp_path))

    async def main(settings: GatewaySettings) -> dict[str, Any]:
        app = create_gateway(settings)
        async with app.router.lifespan_context(app), open_client(app, "gateway", httpx.Timeout(30)) as client:
            return await make(client, recipe)

    with serve(service) as service_url, serve(labeller) as labeller_url:
        status = asyncio.run(main(settings_for(tmp_path, labeller=labeller_url, services={"other": service_url})))
    assert status["state"] == "finished"
    assert status["sources"]["one"]["fallback"] == "two"
    assert "there is no service 'nowhere'" in status["scenario"]
