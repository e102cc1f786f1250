"""The OpenAPI documents are stored, true, and can be read without a network."""

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from distillery.generators.service import ServiceSettings, create_app
from distillery.http.client import EmbeddedServers, open_client
from distillery.structures.arrow import ARROW_TYPE, to_arrow
from gateway.app import create_gateway
from labeller.app import create_labeller
from labeller.settings import LabellerSettings
from tests.fake_service import FakeGenerator
from tests.fake_teacher import FakeTeacher
from tests.integration.factory import RECIPE, factory, make, settings_for, two_fakes
from tests.labelling import mixed, record
from tests.openapi import APPS, FOLDER, write_document
from tests.serving import serve

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = {True: 25, False: 8}
"""Of operations that take a body, and of those that take a name or a number at most."""
bounded = settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
recipes = st.sampled_from([RECIPE, RECIPE.replace("fake", "nobody"), RECIPE + "shard_size: 0\n", "name: [", ""]) | st.text()
schemathesis.openapi.media_type("application/yaml", recipes.map(str.encode))
batches = st.sampled_from([to_arrow(mixed("p", 3), record()), to_arrow([], record(seed="no")), to_arrow([], {})])
schemathesis.openapi.media_type(ARROW_TYPE, batches | st.binary())


@dataclass(frozen=True)
class Served:
    """The three kinds of apps, and a dataset `small` that the gateway has finished."""

    gateway: str
    labeller: str
    service: str


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    data = tmp_path_factory.mktemp("data")

    async def make_small() -> None:
        async with factory(data, two_fakes()) as client:
            await make(client)
        (data / "small" / "report.html").write_text("<p>a page</p>")

    asyncio.run(make_small())
    service = create_app(FakeGenerator("fake"), ServiceSettings())
    labeller = create_labeller(FakeTeacher(), LabellerSettings(data=data))
    gateway = create_gateway(settings_for(data), EmbeddedServers({"fake": service, "labeller": labeller}))
    with serve(labeller) as labeller_url, serve(service) as service_url, serve(gateway) as gateway_url:
        yield Served(gateway_url, labeller_url, service_url)


def load(url: str) -> schemathesis.schemas.BaseSchema:
    return schemathesis.openapi.from_url(f"{url}/openapi.json")


def list_operations() -> list[tuple[str, str, str]]:
    """App, path and method of every operation."""
    documents = {name: json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")) for name in APPS}
    return [(name, path, method) for name, document in documents.items() for path, found in document["paths"].items() for method in found]


@pytest.mark.parametrize(("app", "path", "method"), list_operations())
def test_whatever_comes_is_answered_as_the_document_says(served: Served, app: str, path: str, method: str) -> None:
    operation = load(getattr(served, app))[path][method.upper()]
    takes_nothing = not operation.body and not list(operation.iter_parameters())
    modes = [GenerationMode.POSITIVE] if takes_nothing else [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]

    @settings(bounded, max_examples=EXAMPLES[bool(list(operation.body))])
    @given(case=st.one_of([operation.as_strategy(generation_mode=mode) for mode in modes]))
    def ask(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=CHECKS, timeout=30)

    ask()


OF_SMALL = ["", "/plan", "/events", "/files", "/report.html", "/files/{path}"]


@pytest.mark.parametrize("path", OF_SMALL)
def test_a_finished_dataset_is_told_of_as_the_document_says(served: Served, path: str) -> None:
    gateway = load(served.gateway)
    for file in ("dataset.h5", "report.json", "recipe.yaml"):
        case = gateway[f"/v1/datasets/{{name}}{path}"]["GET"].Case(path_parameters={"name": "small", "path": file})
        assert case.call_and_validate(checks=CHECKS).status_code == 200


@pytest.mark.parametrize(("verb", "status"), [("pause", 409), ("cancel", 409), ("resume", 200)])
def test_a_finished_dataset_answers_verbs_as_the_document_says(served: Served, verb: str, status: int) -> None:
    case = load(served.gateway)[f"/v1/datasets/{{name}}/{verb}"]["POST"].Case(path_parameters={"name": "small"})
    assert case.call_and_validate(checks=CHECKS).status_code == status


@pytest.mark.parametrize("name", APPS)
def test_the_stored_document_is_what_the_app_says(name: str) -> None:
    stored = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
    assert stored == write_document(APPS[name]()), "make openapi writes it anew"


@pytest.mark.parametrize("name", APPS)
def test_operations_have_plain_names_and_say_what_can_go_wrong(name: str) -> None:
    document = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", operation["operationId"]) for operation in operations)
    for operation in operations:
        for status, response in operation["responses"].items():
            assert int(status) < 400 or list(response["content"]) == ["application/problem+json"], operation["operationId"]
    assert {"create_dataset", "get_dataset", "list_datasets"} <= {operation["operationId"] for operation in operations} or name != "gateway"


def test_a_recipe_may_come_as_yaml_or_json_and_both_examples_are_recipes(tmp_path: Path) -> None:
    document = json.loads((FOLDER / "gateway.json").read_text(encoding="utf-8"))
    content = document["paths"]["/v1/datasets/plan"]["post"]["requestBody"]["content"]
    bodies = [content["application/yaml"]["example"], json.dumps(content["application/json"]["example"])]

    async def plan() -> list[httpx.Response]:
        async with open_client(create_gateway(settings_for(tmp_path)), "gateway", httpx.Timeout(30)) as client:
            return [await client.post("/v1/datasets/plan", content=body) for body in bodies]

    first, second = asyncio.run(plan())
    assert first.status_code == 200
    assert first.json() == second.json()


def test_a_key_is_asked_for_where_the_document_says_so(tmp_path: Path) -> None:
    document = json.loads((FOLDER / "gateway.json").read_text(encoding="utf-8"))
    assert document["components"]["securitySchemes"]["ApiKey"] == {"type": "http", "scheme": "bearer"}

    async def main() -> None:
        app = create_gateway(settings_for(tmp_path, api_key="sixteen letters!"))
        async with open_client(app, "gateway", httpx.Timeout(30)) as client:
            for path, operations in document["paths"].items():
                for method, operation in operations.items():
                    answer = await client.request(method, path)
                    assert (answer.status_code == 401) == ("security" in operation), (method, path)

    asyncio.run(main())


@pytest.mark.parametrize("key", [None, "sixteen letters!"])
def test_the_page_of_the_api_needs_neither_a_network_nor_a_key(tmp_path: Path, key: str | None) -> None:
    async def fetch() -> tuple[str, dict[str, httpx.Response]]:
        app = create_gateway(settings_for(tmp_path, api_key=key))
        async with open_client(app, "localhost", httpx.Timeout(30)) as client:
            page = (await client.get("/docs")).raise_for_status().text
            paths = re.findall(r"""(?:src|href)=["']([^"']+)["']|url: ["']([^"']+)["']""", page)
            return page, {path: await client.get(path) for path in filter(None, (path for pair in paths for path in pair))}

    page, answers = asyncio.run(fetch())
    assert not re.search(r"https?://", re.sub(r"<title>.*?</title>", "", page))
    assert {answer.status_code for answer in answers.values()} == {200}
    assert {"/openapi.json", "/docs-assets/swagger-ui-bundle.js", "/docs-assets/swagger-ui.css"} <= answers.keys()
    document: dict[str, Any] = answers["/openapi.json"].json()
    assert ("securitySchemes" in document["components"]) == (key is not None)
