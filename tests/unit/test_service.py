"""The app every service is: its queue, its readiness, its errors, and clients that leave. Real uvicorn."""

import re
import sys
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import httpx
import pytest

from distillery.errors import OutOfMemory, Unavailable
from distillery.generators.generator import Made, Progress, Task, find_faults
from distillery.generators.plugins import build_generator, list_services
from distillery.generators.service import ServiceSettings, create_app
from distillery.http import app as face
from distillery.runtime.device import DeviceLost
from distillery.runtime.stopping import Stop
from distillery.schema.generate import GenerateRequest
from distillery.structures.arrow import from_arrow
from distillery.structures.structure import DEFAULT_ELEMENTS
from tests.fake_service import FakeGenerator
from tests.serving import serve

REQUEST = {"n": 3, "seed": 1}


def wait_until(condition, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def test_a_full_queue_is_busy_and_says_when_to_come_back() -> None:
    gate, generator = threading.Event(), FakeGenerator(script=lambda task, call: gate.wait(20))
    app = create_app(generator, ServiceSettings(concurrency=1, queue=1))
    with serve(app) as url, ThreadPoolExecutor(2) as pool, httpx.Client(base_url=url, timeout=30) as client:
        waiting = [pool.submit(client.post, "/generate", json={**REQUEST, "seed": seed}) for seed in (1, 2)]
        wait_until(lambda: "distillery_waiting_requests 1.0" in client.get("/metrics").text)
        refused = client.post("/generate", json=REQUEST)
        assert refused.status_code == 429
        assert refused.json()["kind"] == "busy"
        assert int(refused.headers["Retry-After"]) >= 1
        gate.set()
        assert [w.result().status_code for w in waiting] == [200, 200]


def test_a_client_that_leaves_stops_the_work_and_frees_the_queue() -> None:
    generator = FakeGenerator()
    generator.seconds = 30
    with serve(create_app(generator, ServiceSettings(concurrency=1, queue=0))) as url, httpx.Client(base_url=url) as client:
        with pytest.raises(httpx.ReadTimeout):
            client.post("/generate", json=REQUEST, timeout=0.5)
        wait_until(lambda: generator.stopped == 1)
        generator.seconds = 0
        wait_until(lambda: client.post("/generate", json=REQUEST).status_code == 200)


def test_a_client_that_leaves_while_waiting_takes_its_place_back() -> None:
    gate, generator = threading.Event(), FakeGenerator(script=lambda task, call: gate.wait(20))
    app = create_app(generator, ServiceSettings(concurrency=1, queue=1))
    with serve(app) as url, ThreadPoolExecutor(1) as pool, httpx.Client(base_url=url, timeout=30) as client:
        first = pool.submit(client.post, "/generate", json=REQUEST)
        wait_until(lambda: generator.calls)
        with pytest.raises(httpx.ReadTimeout):
            client.post("/generate", json=REQUEST, timeout=0.3)
        wait_until(lambda: "distillery_waiting_requests 0.0" in client.get("/metrics").text)
        gate.set()
        assert first.result().status_code == 200


def test_a_request_can_be_checked_without_making_it_and_before_the_model_is_there() -> None:
    generator = FakeGenerator()
    generator.load = lambda: (_ for _ in ()).throw(Unavailable("no weights"))
    with serve(create_app(generator, ServiceSettings()), wait_until_ready=False) as url, httpx.Client(base_url=url) as client:
        assert client.post("/check", json=REQUEST).json() == {"faults": []}
        faults = client.post("/check", json={**REQUEST, "n": 10**6, "elements": ["Po"], "options": {"nothing": 1}}).json()["faults"]
        assert [fault["key"] for fault in faults] == [["elements"], ["n"], ["options", "nothing"]]
        assert client.post("/check", json={**REQUEST, "n": 0}).status_code == 400
        assert client.get("/v1/health/ready").status_code == 503
    assert not generator.calls


def test_methods_that_clients_invent_are_counted_as_one() -> None:
    with serve(create_app(FakeGenerator(), ServiceSettings())) as url, httpx.Client(base_url=url) as client:
        for method in ("FOO", "BAR"):
            assert client.request(method, "/v1/metadata").status_code == 405
        metrics = client.get("/metrics").text
    assert 'method="other",path="/v1/metadata",status="405"} 2.0' in metrics
    assert "FOO" not in metrics


def test_not_ready_until_loaded_and_alive_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(face, "_RELOAD_SECONDS", 0.05)
    generator, weights = FakeGenerator(), threading.Event()

    def load() -> None:
        if not weights.is_set():
            raise Unavailable("there is no model.ckpt; put it into /weights")

    generator.load = load  # type: ignore[method-assign]
    with serve(create_app(generator, ServiceSettings()), wait_until_ready=False) as url, httpx.Client(base_url=url) as client:
        wait_until(lambda: "model.ckpt" in client.get("/v1/health/ready").text)
        assert client.get("/v1/health/ready").status_code == 503
        assert client.get("/v1/health/live").status_code == 200
        refused = client.post("/generate", json=REQUEST)
        assert (refused.status_code, refused.json()["kind"]) == (503, "unavailable")
        weights.set()
        wait_until(lambda: client.get("/v1/health/ready").status_code == 200)
        assert client.post("/generate", json=REQUEST).status_code == 200


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), MemoryError()])
def test_a_model_that_finds_no_memory_is_loaded_again_once_what_it_had_is_free(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(face, "_RELOAD_SECONDS", 0.05)
    generator, has_room, layers = FakeGenerator(), threading.Event(), weakref.WeakSet[FakeGenerator]()
    leftovers: list[int] = []

    def load() -> None:
        leftovers.append(len(layers))
        layer = FakeGenerator()
        layers.add(layer)
        if not has_room.is_set():
            raise type(error)(*error.args)

    generator.load = load  # type: ignore[method-assign]
    with serve(create_app(generator, ServiceSettings()), wait_until_ready=False) as url, httpx.Client(base_url=url) as client:
        wait_until(lambda: "too little memory" in client.get("/v1/health/ready").text)
        assert client.get("/v1/health/ready").status_code == 503
        wait_until(lambda: len(leftovers) > 2)
        has_room.set()
        wait_until(lambda: client.get("/v1/health/ready").status_code == 200)
    assert not any(leftovers)


def test_loads_that_fail_are_tried_again_at_growing_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(face, "_RELOAD_SECONDS", 0.05)
    monkeypatch.setattr(face, "_LONGEST_RELOAD", 0.2)
    generator, tries = FakeGenerator(), list[float]()

    def load() -> None:
        tries.append(time.monotonic())
        if len(tries) < 6:
            raise Unavailable("the quota of this file is used up")

    generator.load = load  # type: ignore[method-assign]
    with serve(create_app(generator, ServiceSettings())):
        waits = [later - earlier for earlier, later in pairwise(tries)]
    assert all(wait > 0.95 * least for wait, least in zip(waits, (0.05, 0.1, 0.2, 0.2, 0.2), strict=True)), (
        waits
    )  # timers end early by a tick
    assert sum(waits[3:]) < 0.4 + 0.8  # without the limit


@pytest.mark.parametrize("end_when_lost", [True, False])
def test_a_device_that_is_lost_while_loading_is_as_lost_as_later(monkeypatch: pytest.MonkeyPatch, end_when_lost: bool) -> None:
    def load() -> None:
        loads.append(1)
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    generator, loads, ends = FakeGenerator(), list[int](), list[int]()
    monkeypatch.setattr(face, "_end_process", lambda: ends.append(1))
    monkeypatch.setattr(face, "_RELOAD_SECONDS", 0.01)
    generator.load = load  # type: ignore[method-assign]
    app = create_app(generator, ServiceSettings(end_when_lost=end_when_lost))
    with serve(app, wait_until_ready=False) as url, httpx.Client(base_url=url) as client:
        wait_until(lambda: "fake has lost its device (CUDA error: an illegal" in client.get("/v1/health/ready").text)
        assert client.get("/v1/health/ready").status_code == 503
    assert (ends, loads) == ([1] * end_when_lost, [1])


@pytest.mark.parametrize("end_when_lost", [True, False])
def test_a_lost_device_refuses_all_and_ends_the_process_only_where_that_was_set(
    monkeypatch: pytest.MonkeyPatch, end_when_lost: bool
) -> None:
    def lose(task: Task, call: int) -> None:
        raise DeviceLost.of("fake", RuntimeError("CUDA error: unspecified launch failure"))

    ends: list[int] = []
    monkeypatch.setattr(face, "_end_process", lambda: ends.append(1))
    app = create_app(FakeGenerator(script=lose), ServiceSettings(end_when_lost=end_when_lost))
    with serve(app) as url, httpx.Client(base_url=url) as client:
        for answer in (client.post("/generate", json=REQUEST), client.get("/v1/health/ready"), client.post("/generate", json=REQUEST)):
            assert (answer.status_code, answer.json()["kind"]) == (503, "unavailable")
            assert "fake has lost its device (CUDA error: unspecified launch failure)" in answer.json()["detail"]
    assert ends == [1] * end_when_lost


def test_a_process_is_not_ended_and_an_empty_variable_is_none_unless_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ServiceSettings.model_fields:
        monkeypatch.setenv(f"DISTILLERY_SERVICE_{name.upper()}", "")
    assert ServiceSettings() == ServiceSettings(workers=None, concurrency=1, queue=8, end_when_lost=False)


def test_a_problem_keeps_its_kind_and_a_bug_is_internal() -> None:
    def fail(task: Task, call: int) -> None:
        raise OutOfMemory("ask for fewer at once") if task.seed == 1 else ZeroDivisionError("a bug")

    with serve(create_app(FakeGenerator(script=fail), ServiceSettings())) as url, httpx.Client(base_url=url) as client:
        first, second = (client.post("/generate", json={**REQUEST, "seed": seed}) for seed in (1, 2))
        assert (first.status_code, first.json()["kind"]) == (507, "out_of_memory")
        assert (second.status_code, second.json()["kind"]) == (500, "internal")
        assert "a bug" in second.json()["detail"]
        assert second.headers["content-type"] == "application/problem+json"
        assert second.headers["distillery-service"] == "fake/1.0"
        assert 'path="/generate",status="500"} 1.0' in client.get("/metrics").text


def test_every_error_says_its_status_in_its_body_too() -> None:
    with serve(create_app(FakeGenerator(), ServiceSettings())) as url, httpx.Client(base_url=url) as client:
        answers = (client.get("/nothing"), client.get("/generate"), client.post("/generate", json={}))
        assert [(a.status_code, a.json()["status"]) for a in answers] == [(404, 404), (405, 405), (400, 400)]


@pytest.mark.parametrize("made", [0, 2])
def test_fewer_than_asked_for_come_with_the_reasons(made: int) -> None:
    generator = FakeGenerator()
    generator.made = made
    with serve(create_app(generator, ServiceSettings())) as url, httpx.Client(base_url=url) as client:
        answer = client.post("/generate", json=REQUEST)
        structures, metadata = from_arrow(answer.content)
        assert len(structures) == made
        assert metadata["requested"] == 3
        assert metadata["rejected"] == {"unlucky": 3 - made}
        assert answer.headers["Server-Timing"].startswith("generate;dur=")


@pytest.mark.parametrize("name", [name for name in list_services() if name != "structures"])  # it needs files
def test_a_request_that_leaves_all_to_the_service_is_one_that_it_can_meet(name: str) -> None:
    assert find_faults(GenerateRequest(n=1, seed=1), build_generator(name)) == []


def test_elements_that_a_request_names_are_never_left_out_in_silence() -> None:
    faults = find_faults(GenerateRequest(n=1, seed=1, elements=DEFAULT_ELEMENTS), build_generator("moldiff"))
    assert [fault.key for fault in faults] == [("elements",)]


@pytest.mark.parametrize(
    ("accept", "is_json"),
    [
        ("Application/JSON", True),
        ("application/json;q=0, */*", False),
        ("application/vnd.apache.arrow.stream, application/json;q=0.5", False),
        ("application/json, application/vnd.apache.arrow.stream;q=0.5", True),
        ("*/*", False),
    ],
)
def test_the_answer_is_json_where_that_is_wanted_more_than_arrow(accept: str, is_json: bool) -> None:
    with serve(create_app(FakeGenerator("fake"), ServiceSettings())) as url:
        answer = httpx.post(f"{url}/generate", json=REQUEST, headers={"Accept": accept}, timeout=30)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/json") == is_json


def test_an_answer_in_a_form_that_a_service_has_not_is_refused() -> None:
    with serve(create_app(FakeGenerator("fake"), ServiceSettings())) as url:
        answer = httpx.post(f"{url}/generate", json=REQUEST, headers={"Accept": "chemical/x-cif"}, timeout=30)
    assert answer.status_code == 400
    assert "can be application/vnd.apache.arrow.stream, application/json; the header Accept wants 'chemical/x-cif'" in answer.text


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda made: None, "must return a Made, it returned NoneType"),
        (lambda made: Made(["CCO"], 1), "must make Structures, it made str"),  # type: ignore[list-item]
        (lambda made: Made([s.renamed(f"{s.id}{k}") for s in made.structures for k in (1, 2)], 6), "must make at most the 3 .*it made 6"),
        (lambda made: Made([s.renamed("same") for s in made.structures], 3), "must give each structure an id of its own.*it gave 'same'"),
        (lambda made: Made([made.structures[0]] * 2, 2), "must give each structure an id of its own"),
        (lambda made: sys.exit("no licence"), r"called sys\.exit\('no licence'\)"),
    ],
)
def test_a_generator_of_others_that_answers_what_is_no_answer_is_told_so(answer: Callable[[Made], Any], said: str) -> None:
    class Wrong(FakeGenerator):
        def generate(self, task: Task, stop: Stop, progress: Progress) -> Made:
            return answer(super().generate(task, stop, progress))  # type: ignore[no-any-return]

    with serve(create_app(Wrong(), ServiceSettings())) as url:
        answered = httpx.post(f"{url}/generate", json=REQUEST, timeout=20)
        assert answered.status_code == 500
        assert re.search(said, answered.json()["detail"])
        assert httpx.get(f"{url}/v1/health/live", timeout=20).status_code == 200
