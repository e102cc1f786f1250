"""The contract of every service: one suite, run on each folder in services/ over real HTTP."""

import time
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import chain

import httpx
import numpy as np
import pytest

from distillery.generators.plugins import build_service, list_services
from distillery.structures.arrow import ARROW_TYPE, from_arrow
from distillery.structures.checks import find_chemistry_fault, find_input_fault
from distillery.structures.geometry import minimum_distance
from distillery.structures.structure import DEFAULT_ELEMENTS, Structure
from tests.serving import serve
from tests.upstream import CHECKED_OUT, require_upstream

SERVICES = list_services()
SEED = 7


@pytest.fixture(scope="module", params=SERVICES)
def service(request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    if request.param in CHECKED_OUT and find_spec(request.param) is None:
        require_upstream(request.param)
    app = build_service(request.param)
    with serve(app) as url, httpx.Client(base_url=url, timeout=300) as client:
        yield client


@pytest.fixture(scope="module")
def card(service: httpx.Client) -> dict:
    return service.get("/v1/metadata").raise_for_status().json()


@pytest.fixture(scope="module")
def requests(card: dict) -> list[dict]:
    """A small request for every system the service makes."""
    return [
        {
            "n": 4,
            "seed": SEED,
            "system": system,
            "elements": [e for e in DEFAULT_ELEMENTS if e in limits["elements"]],
            "min_atoms": limits["default_min_atoms"],
            "max_atoms": _small(limits),
        }
        for system, limits in card["systems"].items()
    ]


@pytest.fixture(scope="module")
def answers(service: httpx.Client, requests: list[dict]) -> list[bytes]:
    """What the service answers to each of them."""
    return [generate(service, request) for request in requests]


def _small(limits: dict) -> int:
    return min(limits["max_atoms"], limits["default_min_atoms"] + 60)


def generate(client: httpx.Client, request: dict) -> bytes:
    response = client.post("/generate", json=request)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == ARROW_TYPE
    return response.content


def structures_of(client: httpx.Client, request: dict) -> list[Structure]:
    return from_arrow(generate(client, request))[0]


def problem_of(response: httpx.Response) -> dict:
    assert response.headers["content-type"] == "application/problem+json", response.text
    body: dict = response.json()
    assert body["status"] == response.status_code
    return body


def test_same_seed_gives_the_same_bytes(service: httpx.Client, requests: list[dict], answers: list[bytes]) -> None:
    for request, answer in zip(requests, answers, strict=True):
        assert generate(service, request) == answer


def test_another_seed_gives_other_structures(service: httpx.Client, requests: list[dict], answers: list[bytes]) -> None:
    for request, answer in zip(requests, answers, strict=True):
        assert generate(service, {**request, "seed": SEED + 1}) != answer


@pytest.fixture(scope="module")
def shards(service: httpx.Client, requests: list[dict]) -> list[list[Structure]]:
    """Twice as many structures for each of them, with ids of a shard."""
    return [structures_of(service, {**request, "n": 8, "shard": "full-x-00001"}) for request in requests]


def test_counts_ids_sizes_and_elements_are_honoured(requests: list[dict], shards: list[list[Structure]]) -> None:
    for request, structures in zip(requests, shards, strict=True):
        assert [s.id for s in structures] == [f"full-x-00001/{i:04d}" for i in range(8)]
        for s in structures:
            assert request["min_atoms"] <= len(s) <= request["max_atoms"]
            assert set(s.symbols) <= set(DEFAULT_ELEMENTS)
            assert s.system == request["system"]
            assert s.origin


def test_structures_are_sane_and_no_two_atoms_too_close(shards: list[list[Structure]], card: dict) -> None:
    for s in chain.from_iterable(shards):
        assert minimum_distance(s) >= card["minimum_distance"]
        assert find_input_fault(s, DEFAULT_ELEMENTS) is None
        assert find_chemistry_fault(s) is None


def test_fewer_elements_are_honoured(service: httpx.Client, requests: list[dict]) -> None:
    for request in requests:
        fewer = [e for e in ("H", "C", "N", "O", "Si") if e in request["elements"]]
        for s in structures_of(service, {**request, "elements": fewer}):
            assert set(s.symbols) <= set(fewer)


def test_perturbation_moves_atoms_and_is_recorded(service: httpx.Client, requests: list[dict]) -> None:
    for request in requests:
        moved = structures_of(service, {**request, "perturb": {"rattle": 0.05, "strain": 0.03}})
        assert all(s.origin["perturb"]["rattle"] == 0.05 for s in moved)
        assert all(("strain" in s.origin["perturb"]) == s.is_periodic for s in moved)


def test_perturbation_of_no_share_changes_nothing(service: httpx.Client, requests: list[dict], answers: list[bytes]) -> None:
    for request, answer in zip(requests, answers, strict=True):
        still = structures_of(service, {**request, "perturb": {"rattle": 0.05, "share": 0}})
        plain, _ = from_arrow(answer)
        assert all(np.array_equal(a.positions, b.positions) for a, b in zip(still, plain, strict=True))


def test_accepting_json_gives_the_same_content(service: httpx.Client, requests: list[dict], answers: list[bytes]) -> None:
    for request, answer in zip(requests, answers, strict=True):
        rows = service.post("/generate", json=request, headers={"Accept": "application/json"}).json()["structures"]
        for row, s in zip(rows, from_arrow(answer)[0], strict=True):
            assert row["id"] == s.id
            assert row["positions"] == s.positions.tolist()
            assert row["origin"] == s.origin


@pytest.mark.parametrize(
    ("change", "status", "kind", "named"),
    [
        ({"n": 0}, 400, "invalid_request", "n"),
        ({"n": 10**9}, 422, "unsupported", "structures in one request, got n = "),
        ({"n": 2.5}, 400, "invalid_request", "n"),
        ({"seed": -1}, 400, "invalid_request", "seed"),
        ({"seed": None}, 400, "invalid_request", "seed"),
        ({"elements": ["H", "Xx"]}, 400, "invalid_request", "Xx"),
        ({"elements": ["H", "Og"]}, 422, "unsupported", "Og"),
        ({"elements": []}, 400, "invalid_request", "elements"),
        ({"elements": ["H", "C", "H"]}, 400, "invalid_request", "H is there twice"),
        ({"perturb": {"rattle": True}}, 400, "invalid_request", "a number is wanted"),
        ({"options": {"no_such_option": 1}}, 400, "invalid_request", "no_such_option"),
        ({"system": "liquid"}, 400, "invalid_request", "liquid"),
        ({"min_atoms": 60, "max_atoms": 50}, 400, "invalid_request", "min_atoms"),
        ({"max_atoms": 10**9}, 422, "unsupported", "1000000000"),
        ({"perturb": {"rattle": -1}}, 400, "invalid_request", "rattle"),
        ({"shard": "../../etc"}, 400, "invalid_request", "shard"),
        ({"no_such_key": 1}, 400, "invalid_request", "no_such_key"),
    ],
)
def test_bad_requests_are_refused_by_name(
    service: httpx.Client, requests: list[dict], change: dict, status: int, kind: str, named: str
) -> None:
    response = service.post("/generate", json={**requests[0], **change})
    assert response.status_code == status, response.text
    problem = problem_of(response)
    assert problem["kind"] == kind
    assert named in problem["detail"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b"[" * 10_000, b'{"n": 1e999, "seed": 1}'])
def test_malformed_bodies_get_a_problem(service: httpx.Client, body: bytes) -> None:
    response = service.post("/generate", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400, response.text
    assert problem_of(response)["kind"] == "invalid_request"


def test_the_face_is_the_common_one(service: httpx.Client, card: dict, requests: list[dict]) -> None:
    assert service.get("/v1/health/live").status_code == 200
    assert service.get("/v1/health/ready").status_code == 200
    for limits in card["systems"].values():
        assert limits["options_schema"]["type"] == "object"
        assert limits["min_atoms"] <= limits["default_min_atoms"] <= limits["default_max_atoms"] <= limits["max_atoms"]
    generate(service, requests[0])
    metrics = service.get("/metrics").text
    assert "distillery_structures_total" in metrics
    missing = service.get("/no/such/path")
    assert missing.status_code == 404
    assert problem_of(missing)["kind"] == "not_found"
    assert missing.headers["distillery-service"] == f"{card['service']}/{card['version']}"
    assert missing.headers["distillery-contract"] == card["contract"]


def test_a_client_that_leaves_stops_the_work(service: httpx.Client, requests: list[dict], card: dict) -> None:
    """The work for the big request has an end before it is done, and the place it took is free."""
    big = {**requests[0], "n": card["n_max"], "min_atoms": None, "max_atoms": None}
    if card["service"] == "structures":  # the rows of the fixture are read in no time; checking what is moved takes a second
        big |= {"options": {"copies": 1000}, "perturb": {"rattle": 0.02}}
    with pytest.raises(httpx.ReadTimeout):
        service.post("/generate", json=big, timeout=0.2)
    latest = time.monotonic() + 60
    while 'path="/generate",status="499"' not in service.get("/metrics").text:
        assert time.monotonic() < latest, "the work was not stopped within a minute"
        time.sleep(0.05)
    assert len(structures_of(service, {**requests[0], "n": 1})) == 1
