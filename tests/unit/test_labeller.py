"""The labeller over real HTTP, with a scripted teacher."""

import gc
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import httpx
import numpy as np
import pytest
from ase.build import molecule

from distillery.dataset.folder import PARTS, part_path
from distillery.dataset.layout import Label
from distillery.dataset.parts import read_part
from distillery.errors import InvalidRequest, Unavailable
from distillery.generators.generator import Task
from distillery.generators.proposals import Proposal, finish_proposal
from distillery.runtime.stopping import Stop
from distillery.schema.base import Message
from distillery.schema.generate import Perturb
from distillery.structures import geometry, identity
from distillery.structures.arrow import ARROW_TYPE, to_arrow
from distillery.structures.identity import digest_structures, structure_hash
from distillery.structures.structure import Structure, from_ase
from gateway.curate import curate
from labeller.app import create_labeller
from labeller.labelling import _read_request
from labeller.settings import LabellerSettings
from labeller.structure_queue import Ticket
from labeller.teachers import create_teacher, list_teachers
from labeller.teachers.teacher import BudgetRange
from tests.fake_teacher import FakeTeacher, Features, pair_label
from tests.labelling import RECIPE, label, methane, mixed, moved, one_atom, receipt, record, silicon, water
from tests.serving import free_port, serve, wait_for_answer

Start = Callable[..., httpx.Client]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Serves a labeller with the given teacher and settings, data in tmp_path."""
    with ExitStack() as stack:

        def begin(teacher: FakeTeacher, **settings: Any) -> httpx.Client:
            app = create_labeller(teacher, LabellerSettings(data=tmp_path, **{"workers": 1, "self_test": False, **settings}))
            return stack.enter_context(httpx.Client(base_url=stack.enter_context(serve(app)), timeout=30))

        yield begin


def metric(client: httpx.Client, name: str) -> float:
    values = [float(line.split()[-1]) for line in client.get("/metrics").text.splitlines() if line.startswith(name)]
    assert values, f"no metric {name}"
    return sum(values)


def list_files(folder: Path) -> list[str]:
    """The parts of a dataset's folder, whatever they are called."""
    return sorted(path.stem for path in (folder / PARTS).glob("[!.]*.h5"))


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_a_part_holds_every_structure_in_order_with_its_label(start: Start, tmp_path: Path) -> None:
    client = start(FakeTeacher())
    structures = [*mixed("p", 12), one_atom("p/0012")]
    answer = receipt(client, "p", structures)
    part = read_part(part_path(tmp_path / "d", "p"))
    splits = part.arrays["structures/atomic_numbers_splits"]
    assert part.arrays["provenance/id"].tolist() == [s.id for s in structures]
    for i, s in enumerate(structures):
        expected = pair_label(s)
        assert part.arrays["labels/energy"][i] == expected.energy
        assert np.array_equal(part.arrays["labels/forces"][splits[i] : splits[i + 1]], expected.forces)
        assert part.arrays["labels/stress_mask"][i] == s.is_periodic
        assert np.array_equal(part.arrays["labels/stress"][i], np.zeros(6) if expected.stress is None else expected.stress)
        assert np.array_equal(part.arrays["structures/positions"][splits[i] : splits[i + 1]], s.positions)
    assert answer["n_structures"] == 13
    assert answer["rejected"] == []
    assert answer["structures_sha256"] == digest_structures([s.id for s in structures], [structure_hash(s) for s in structures])
    assert part.receipt.model_dump(mode="json") == answer


def test_repeating_a_part_answers_the_stored_receipt_and_changes_nothing(start: Start, tmp_path: Path) -> None:
    teacher = FakeTeacher()
    client = start(teacher)
    first = receipt(client, "p", mixed("p", 5))
    before = part_path(tmp_path / "d", "p").read_bytes()
    n_batches = len(teacher.seen)
    assert receipt(client, "p", mixed("p", 5)) == first
    assert part_path(tmp_path / "d", "p").read_bytes() == before
    assert len(teacher.seen) == n_batches


def test_what_is_labelled_is_freed_at_once_and_not_when_cycles_are_looked_for(start: Start) -> None:
    client = start(FakeTeacher())
    gc.collect()
    gc.disable()
    try:
        for k in range(6):
            receipt(client, f"p{k}", mixed(f"p{k}", 3))
        assert sum(type(thing) is Ticket for thing in gc.get_objects()) <= 1  # the worker's last
    finally:
        gc.enable()


def test_the_same_part_asked_for_twice_at_once_is_made_once(start: Start) -> None:
    teacher = FakeTeacher(seconds_an_atom=0.002)
    client = start(teacher)
    answers: list[dict[str, Any]] = []
    threads = [threading.Thread(target=lambda: answers.append(receipt(client, "p", mixed("p", 9)))) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert answers[0] == answers[1]
    assert sum(len(batch) for batch in teacher.seen) == 9


@pytest.mark.parametrize(("change", "named"), [({"recipe_sha256": "b" * 64}, "recipe_sha256"), ({"seed": 8}, "seed")])
def test_a_part_of_something_else_is_a_conflict_that_names_both(start: Start, change: dict[str, Any], named: str) -> None:
    client = start(FakeTeacher())
    receipt(client, "p", mixed("p", 3))
    response = label(client, "p", mixed("p", 3), **change)
    assert response.status_code == 409
    assert named in response.json()["detail"]
    assert str(record()[named]) in response.json()["detail"]
    assert str(change[named]) in response.json()["detail"]


def test_a_part_with_other_structures_is_a_conflict(start: Start) -> None:
    client = start(FakeTeacher())
    receipt(client, "p", mixed("p", 3))
    response = label(client, "p", mixed("p", 4))
    assert response.status_code == 409
    assert "p/0003" in response.json()["detail"]


def test_a_part_of_another_teacher_is_a_conflict(start: Start) -> None:
    receipt(start(FakeTeacher()), "p", mixed("p", 3))
    response = label(start(FakeTeacher(name="other")), "p", mixed("p", 3))
    assert response.status_code == 409
    assert "fake" in response.json()["detail"]
    assert "other" in response.json()["detail"]


def test_a_corrupt_part_is_named_and_never_reused(start: Start, tmp_path: Path) -> None:
    client = start(FakeTeacher())
    receipt(client, "p", mixed("p", 3))
    path = part_path(tmp_path / "d", "p")
    path.write_bytes(path.read_bytes()[:-100])
    response = label(client, "p", mixed("p", 3))
    assert response.status_code == 500
    assert response.json()["kind"] == "corrupt_part"
    assert str(path) in response.json()["detail"]


def test_an_empty_batch_makes_an_empty_part_with_its_note(start: Start, tmp_path: Path) -> None:
    answer = receipt(start(FakeTeacher()), "p", [], note="the source could not be used", generated=0)
    part = read_part(part_path(tmp_path / "d", "p"))
    assert answer["n_structures"] == 0
    assert part.receipt.record.note == "the source could not be used"
    assert part.arrays["labels/forces"].shape == (0, 3)


def test_unsound_structures_are_refused_with_a_reason_before_the_teacher_sees_them(start: Start, tmp_path: Path) -> None:
    teacher = FakeTeacher()
    client = start(teacher)
    nan = moved(water("p/0001"), np.full((3, 3), np.nan))
    foreign = replace(water("p/0002"), numbers=np.array([79, 1, 1], np.uint8))
    close = moved(water("p/0003"), [[0, 0, 0], [0, -0.6, 0.5], [0, 0, 0]])
    partial = replace(silicon("p/0005"), pbc=(True, True, False))
    dense = replace(silicon("p/0006"), positions=silicon("p/0006").positions / 3, cell=silicon("p/0006").cell / 3)
    answer = receipt(client, "p", [water("p/0000"), nan, foreign, close, methane("p/0004"), partial, dense])
    reasons = {r["id"]: r["reason"] for r in answer["rejected"]}
    assert reasons == {
        "p/0001": "not_finite",
        "p/0002": "unknown_element",
        "p/0003": "atoms_too_close",
        "p/0005": "partial_periodicity",
        "p/0006": "too_dense",
    }
    assert all(r["detail"] and r["stage"] == "label" for r in answer["rejected"])
    assert answer["n_structures"] == 2
    assert sorted(id for batch in teacher.seen for id in batch) == ["p/0000", "p/0004"]
    assert [s.id for s in read_part(part_path(tmp_path / "d", "p")).quarantined] == sorted(reasons)


@pytest.mark.parametrize("stage", ["raises_on", "fails_featurising"])
def test_a_failing_batch_is_bisected_down_to_the_offender(start: Start, stage: str) -> None:
    client = start(FakeTeacher(**{stage: lambda s: s.id in ("p/0003", "p/0010")}, budget=BudgetRange(1000, 1000)))
    answer = receipt(client, "p", mixed("p", 16))
    assert [r["id"] for r in answer["rejected"]] == ["p/0003", "p/0010"]
    assert {r["reason"] for r in answer["rejected"]} == {"teacher_failed"}
    assert "p/0003" in answer["rejected"][0]["detail"]
    assert answer["n_structures"] == 14
    assert metric(client, "distillery_label_rejected_total") == 2


def test_out_of_memory_halves_the_budget_and_loses_nothing(start: Start) -> None:
    teacher = FakeTeacher(largest_batch=40, budget=BudgetRange(200, 200))
    client = start(teacher)
    answer = receipt(client, "p", mixed("p", 40))
    assert answer["n_structures"] == 40
    assert answer["rejected"] == []
    assert teacher.n_released >= 1
    assert client.get("/v1/metadata").json()["atom_budget"] <= 40


def test_the_budget_recovers_when_others_have_left_the_memory(start: Start) -> None:
    teacher = FakeTeacher(largest_batch=8, budget=BudgetRange(200, 200))
    client = start(teacher)
    receipt(client, "p", mixed("p", 40))
    assert client.get("/v1/metadata").json()["atom_budget"] < 10
    teacher.largest_batch = None
    receipt(client, "q", mixed("q", 300))
    assert client.get("/v1/metadata").json()["atom_budget"] > 3 * 8


def test_one_success_of_a_large_structure_lifts_the_budget_to_it(start: Start) -> None:
    teacher = FakeTeacher(largest_batch=8, budget=BudgetRange(200, 200))
    client = start(teacher)
    receipt(client, "p", mixed("p", 40))
    teacher.largest_batch = None
    receipt(client, "q", [silicon("q/0000", 2)])
    assert client.get("/v1/metadata").json()["atom_budget"] == 16


@pytest.mark.parametrize("has_fitted", [True, False])
def test_memory_that_others_take_fails_the_request_and_is_never_the_structures_fault(
    start: Start, tmp_path: Path, has_fitted: bool
) -> None:
    teacher = FakeTeacher(budget=BudgetRange(200, 200))
    client = start(teacher)
    if has_fitted:
        receipt(client, "p", [silicon("p/0000", 2)])
    teacher.largest_batch = 2
    response = label(client, "q", mixed("q", 5))
    assert (response.status_code, response.json()["kind"]) == (503, "unavailable")
    assert int(response.headers["Retry-After"]) >= 1
    assert "free it" in response.json()["detail"]
    assert "q" not in list_files(tmp_path / "d")
    teacher.largest_batch = None
    assert receipt(client, "q", mixed("q", 5))["n_structures"] == 5


def test_a_batch_that_did_not_fit_gives_its_memory_back_before_its_halves_are_tried(start: Start) -> None:
    teacher = FakeTeacher(capacity=100, budget=BudgetRange(192, 192))
    client = start(teacher)
    answer = receipt(client, "p", [silicon(f"p/{i:04d}", seed=i) for i in range(48)])
    assert answer["n_structures"] == 48
    assert answer["rejected"] == []
    assert teacher.tried[:3] == [192, 96, 96]
    receipt(client, "q", [silicon(f"q/{i:04d}", seed=i) for i in range(120)])
    assert 64 <= client.get("/v1/metadata").json()["atom_budget"] <= 100
    n_failures = teacher.n_released
    receipt(client, "r", [silicon(f"r/{i:04d}", seed=i) for i in range(48)])
    assert teacher.n_released == n_failures


def test_a_batch_that_was_labelled_leaves_nothing_in_memory(start: Start) -> None:
    teacher = FakeTeacher(capacity=192, budget=BudgetRange(192, 192))
    receipt(start(teacher), "p", [silicon(f"p/{i:04d}", seed=i) for i in range(72)])
    assert teacher.tried == [192, 192, 192]
    assert teacher.n_atoms_in_memory == 0


def test_a_structure_too_large_for_the_memory_is_rejected_alone(start: Start) -> None:
    client = start(FakeTeacher(largest_batch=10, budget=BudgetRange(200, 200)))
    answer = receipt(client, "p", [water("p/0000"), silicon("p/0001", 2), methane("p/0002")])
    assert [(r["id"], r["reason"]) for r in answer["rejected"]] == [("p/0001", "out_of_memory")]
    assert answer["n_structures"] == 2


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda label: replace(label, energy=float("nan")), "not_finite_label"),
        (lambda label: replace(label, forces=label.forces * np.float32("inf")), "not_finite_label"),
        (lambda label: replace(label, forces=label.forces[:-1]), "wrong_shape"),
        (lambda label: replace(label, stress=np.zeros(6)), "wrong_shape"),
        (lambda label: None, "teacher_failed"),
        (lambda label: "label", "teacher_failed"),
        (lambda label: replace(label, energy=None), "teacher_failed"),
        (lambda label: replace(label, forces=label.forces.tolist()), "teacher_failed"),
        (lambda label: replace(label, atomic_energies=[1.0, 2.0]), "teacher_failed"),
        (lambda label: sys.exit(3), "teacher_failed"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_unsound_labels_are_rejected_with_a_reason(start: Start, spoil: Callable[[Label], Any], reason: str) -> None:
    client = start(FakeTeacher(spoil=lambda s, label: spoil(label) if s.id == "p/0001" else label))
    answer = receipt(client, "p", mixed("p", 3))
    assert [(r["id"], r["reason"]) for r in answer["rejected"]] == [("p/0001", reason)]
    assert answer["n_structures"] == 2


def test_structures_of_concurrent_requests_share_batches(start: Start) -> None:
    teacher = FakeTeacher(budget=BudgetRange(1000, 1000))
    client = start(teacher)
    teacher.gate.clear()
    answers: list[dict[str, Any]] = []
    threads = [threading.Thread(target=lambda p=p: answers.append(receipt(client, p, mixed(p, 4)))) for p in "abcdefgh"]
    for t in threads:
        t.start()
    until(lambda: metric(client, "distillery_waiting_structures") + len(teacher.featurised) == 32)
    teacher.gate.set()
    for t in threads:
        t.join()
    assert [a["n_structures"] for a in answers] == [4] * 8
    assert any(len({id.split("/")[0] for id in batch}) > 1 for batch in teacher.seen)


def test_a_full_queue_answers_429_with_retry_after(start: Start) -> None:
    teacher = FakeTeacher(budget=BudgetRange(10, 10))
    client = start(teacher, queue=20)
    teacher.gate.clear()
    waiting = threading.Thread(target=receipt, args=(client, "p", mixed("p", 20)))
    waiting.start()
    until(lambda: metric(client, "distillery_waiting_structures") > 0)
    response = label(client, "q", mixed("q", 20))
    assert response.status_code == 429
    assert int(response.headers["Retry-After"]) >= 1
    teacher.gate.set()
    waiting.join()


def test_a_client_that_leaves_takes_its_structures_back_and_gets_no_part(start: Start, tmp_path: Path) -> None:
    teacher = FakeTeacher(budget=BudgetRange(10, 10))
    client = start(teacher)
    teacher.gate.clear()
    with pytest.raises(httpx.ReadTimeout):
        client.post(
            "/label",
            params={"dataset": "d", "part": "p"},
            content=to_arrow(mixed("p", 30), record()),
            headers={"Content-Type": ARROW_TYPE},
            timeout=0.5,
        )
    until(lambda: metric(client, "distillery_waiting_structures") == 0)
    teacher.gate.set()
    receipt(client, "q", mixed("q", 2))
    assert list_files(tmp_path / "d") == ["q"]
    assert sum(1 for batch in teacher.seen for id in batch if id.startswith("p/")) < 30


def test_a_lost_device_fails_the_request_and_the_readiness_but_rejects_nothing(start: Start, tmp_path: Path) -> None:
    client = start(FakeTeacher(fatal_on=lambda s: s.id == "p/0002"))
    for response in (label(client, "p", mixed("p", 5)), label(client, "q", mixed("q", 1)), client.get("/v1/health/ready")):
        assert (response.status_code, response.json()["kind"]) == (503, "unavailable")
        assert "labeller has lost its device (CUDA error: an illegal memory access" in response.json()["detail"]
        assert "must be started again" in response.json()["detail"]
    assert list_files(tmp_path / "d") == []


def test_the_containers_own_server_ends_once_the_device_is_lost_and_answers_before(tmp_path: Path) -> None:
    url, env = f"http://127.0.0.1:{free_port()}", {"DISTILLERY_LABELLER_DATA": str(tmp_path), "DISTILLERY_LABELLER_END_WHEN_LOST": "true"}
    command = [sys.executable, "-m", "uvicorn", "--factory", "tests.fake_teacher:build_losing", "--port", url.rsplit(":")[-1]]
    server = subprocess.Popen(command, cwd=Path(__file__).parents[2], env={**os.environ, **env})
    try:
        wait_for_answer(f"{url}/v1/health/ready")
        with httpx.Client(base_url=url, timeout=30) as client:
            response = label(client, "p", mixed("p", 5))
        assert (response.status_code, response.json()["kind"]) == (503, "unavailable")
        assert server.wait(20) != 0
    finally:
        server.kill()
        server.wait()


@pytest.mark.parametrize(
    ("part", "structures", "named"),
    [
        ("p", [water("q/0000")], "q/0000"),
        ("p", [water("p/0000"), methane("p/0000")], "p/0000"),
        ("p", [water("p2/0000")], "p2/0000"),
        ("../p", [], "part"),
        ("a/b", [], "part"),
        ("", [], "part"),
        (".hidden", [], "part"),
        ("p", [water("p/0\0")], "ids are printable text; got 'p/0\\x00'"),
        ("p", [water("p/\n")], "ids are printable text"),
        ("p", [water("p/\x7f")], "ids are printable text"),
    ],
)
def test_foreign_or_repeated_ids_and_bad_names_are_refused(start: Start, tmp_path: Path, part: str, structures: list, named: str) -> None:
    response = label(start(FakeTeacher()), part, structures)
    assert response.status_code == 400
    assert named in response.json()["detail"]
    assert list(tmp_path.rglob("*.h5")) == []


def test_a_repeated_id_among_many_is_found_at_once() -> None:
    argon = Structure("p/0", np.array([18], np.uint8), np.zeros((1, 3)))
    body = to_arrow([*(argon.renamed(f"p/{k}") for k in range(20_000)), argon], record())
    start = time.process_time()
    with pytest.raises(InvalidRequest, match=r"twice or more: p/0$"):
        _read_request("d", "p", body)
    assert time.process_time() - start < 2


@pytest.mark.parametrize("field", ["stage", "source", "service"])
@pytest.mark.parametrize("name", ["a\0b", "", "a b", "x" * 200])
def test_names_in_a_record_that_are_none_are_refused(start: Start, tmp_path: Path, field: str, name: str) -> None:
    response = label(start(FakeTeacher()), "p", [water("p/0")], **{field: name})
    assert response.status_code == 400
    assert field in response.json()["detail"]
    assert list(tmp_path.rglob("*.h5")) == []


def send(client: httpx.Client, structures: list[Structure], hashes: list[str]) -> httpx.Response:
    body = to_arrow(structures, record(), hashes)
    return client.post("/label", params={"dataset": "d", "part": "p"}, content=body, headers={"Content-Type": ARROW_TYPE})


def test_hashes_that_come_with_structures_are_those_of_the_part(start: Start, tmp_path: Path) -> None:
    structures = mixed("p", 6)
    hashes = [structure_hash(s) for s in structures]
    answer = send(start(FakeTeacher()), structures, hashes)
    assert answer.json()["structures_sha256"] == digest_structures([s.id for s in structures], hashes)
    assert read_part(part_path(tmp_path / "d", "p")).arrays["provenance/structure_hash"].tolist() == hashes


@pytest.mark.parametrize("is_first_sound", [True, False])
def test_hashes_of_another_version_are_refused(start: Start, tmp_path: Path, is_first_sound: bool) -> None:
    structures = mixed("p", 4)
    if not is_first_sound:
        structures[0] = replace(structures[0], positions=np.full((3, 3), np.nan))
    answer = send(start(FakeTeacher()), structures, ["0" * 32] * 4)
    assert answer.status_code == 400
    assert "of one version" in answer.json()["detail"]
    assert list(tmp_path.rglob("*.h5")) == []


def test_what_no_teacher_may_see_is_refused_though_hashes_came_with_it(start: Start) -> None:
    structures = mixed("p", 5)
    hashes = [structure_hash(s) for s in structures]
    structures[1] = replace(structures[1], positions=np.full_like(structures[1].positions, np.nan))
    structures[2] = replace(structures[2], cell=0.1 * structures[2].cell)
    structures[3] = replace(structures[3], numbers=np.full(3, 92, np.uint8))
    answer = send(start(FakeTeacher()), structures, hashes).json()
    assert [(one["id"], one["reason"]) for one in answer["rejected"]] == [
        ("p/0001", "not_finite"),
        ("p/0002", "bad_cell"),
        ("p/0003", "unknown_element"),
    ]


def test_distances_are_checked_by_whoever_made_the_hashes(start: Start) -> None:
    structures = mixed("p", 4)
    structures[1] = replace(structures[1], positions=0.1 * structures[1].positions)
    client = start(FakeTeacher())
    without = label(client, "p", structures).json()
    assert [(one["id"], one["reason"]) for one in without["rejected"]] == [("p/0001", "atoms_too_close")]
    moved = [replace(s, id=s.id.replace("p/", "q/")) for s in structures]
    body = to_arrow(moved, record(), [structure_hash(s) for s in moved])
    answer = client.post("/label", params={"dataset": "d", "part": "q"}, content=body, headers={"Content-Type": ARROW_TYPE}).json()
    assert answer["rejected"] == []


def test_a_skewed_cell_is_labelled_and_kept_by_its_reduced_one(start: Start, tmp_path: Path) -> None:
    plain = silicon("p/0")
    cell = plain.cell.copy()
    cell[1] += 30 * cell[0]
    assert receipt(start(FakeTeacher()), "p", [replace(plain, cell=cell)])["rejected"] == []
    kept = read_part(part_path(tmp_path / "d", "p")).arrays["structures/cells"][0]
    assert np.allclose(np.linalg.norm(kept, axis=1), 5.43)


def test_a_teacher_sees_right_handed_cells_alone_and_the_part_keeps_them_as_they_are(start: Start, tmp_path: Path) -> None:
    """CHGNet's calculator gives the stress of a left-handed cell the other sign, as who takes the determinant for the volume does."""

    class Signed(FakeTeacher):
        def predict(self, features: Features) -> list[Label]:
            signs = [np.sign(np.linalg.det(one.cell)) for one in features]
            labels = super().predict(features)
            return [
                label if label.stress is None else replace(label, stress=s * label.stress) for s, label in zip(signs, labels, strict=True)
            ]

    right = replace(silicon("p/0", seed=1), cell=silicon("p/0").cell * [[1.0], [1.1], [1.2]])
    left = replace(right, id="p/1", cell=right.cell[[1, 0, 2]])
    assert receipt(start(Signed()), "p", [right, left, water("p/2")])["rejected"] == []
    arrays = read_part(part_path(tmp_path / "d", "p")).arrays
    assert np.array_equal(arrays["structures/cells"][:2], [right.cell, left.cell])
    assert np.allclose(arrays["labels/stress"][1], arrays["labels/stress"][0])
    assert np.allclose(arrays["labels/stress"][0], pair_label(right).stress)


UNLIKE = (
    *("CH3CHO", "OCHCHO", "CH3COF", "CH3CH2OCH3", "HCOOH", "C2H2", "C4H4NH", "C2H6CHOH", "CH2NHCH2", "isobutene", "bicyclobutane"),
    *("C2H6", "H3CNH2", "methylenecyclopropane", "CH3CH2OH", "CH3CN", "cyclobutene", "CH3ONO", "C3H6_D3h", "CO2", "trans-butane"),
    *("CH2OCH2", "C6H6", "CH3CONH2", "cyclobutane", "H2CCHCN", "butadiene", "H2CO", "CH3COOH", "N2H4"),
)


def test_on_its_way_a_structure_has_two_lists_of_neighbours_and_one_hash(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Service and gateway one each; the labeller hashes the first of a part once more, the teacher has its own."""
    cutoffs, hashes = Counter[float](), []
    find, describe = geometry.NeighborList, identity._environments
    monkeypatch.setattr(geometry, "NeighborList", lambda **k: cutoffs.update([k["cutoff"]]) or find(**k))
    monkeypatch.setattr(identity, "_environments", lambda *a: hashes.append(a[0].id) or describe(*a))
    proposals = [Proposal((from_ase(molecule(name), id=f"p/{k:04d}", system="molecule"),)) for k, name in enumerate(UNLIKE)]
    task = Task(30, 1, "p", "molecule", ("H", "C", "N", "O", "F"), 1, 100, Perturb(share=0), Message())
    made = [finish_proposal(one, task, np.random.default_rng(1)) for one in proposals]
    structures = [s for one in made if isinstance(one, Proposal) for s in one.structures]
    curated = curate(structures, task.elements, None)
    assert (cutoffs.total(), len(hashes)) == (60, 30)
    assert send(start(FakeTeacher()), curated.kept, curated.hashes).json()["n_structures"] == 30
    by_teacher = 30
    assert (cutoffs.total() - by_teacher, len(hashes)) == (61, 31)


def test_a_dataset_name_that_leaves_the_folder_is_refused(start: Start) -> None:
    response = label(start(FakeTeacher()), "p", [], dataset="../../etc")
    assert response.status_code == 400
    assert "dataset" in response.json()["detail"]


@pytest.mark.parametrize(
    ("content", "content_type", "status", "named"),
    [
        (b"{}", "application/json", 400, ARROW_TYPE),
        (b"junk", ARROW_TYPE, 400, "Arrow"),
        (to_arrow([], {}), ARROW_TYPE, 400, "recipe_sha256"),
        (to_arrow([], {**record(), "seeed": 1}), ARROW_TYPE, 400, "did you mean 'seed'"),
        (b"\0" * ((1 << 20) + 1), ARROW_TYPE, 413, "1 MiB"),
    ],
)
def test_bodies_that_are_no_structure_batch_are_refused(start: Start, content: bytes, content_type: str, status: int, named: str) -> None:
    client = start(FakeTeacher(), body_limit_mib=1)
    response = client.post("/label", params={"dataset": "d", "part": "p"}, content=content, headers={"Content-Type": content_type})
    assert response.status_code == status
    assert named in response.json()["detail"]


def test_teacher_time_and_batches_are_metered_and_attributed(start: Start) -> None:
    client = start(FakeTeacher(seconds_an_atom=0.001))
    small, large = receipt(client, "p", mixed("p", 3)), receipt(client, "q", mixed("q", 30))
    busy = metric(client, "distillery_teacher_busy_seconds_total")
    assert small["label_seconds"] + large["label_seconds"] == pytest.approx(busy)
    assert busy >= 0.001 * (small["n_atoms"] + large["n_atoms"])
    assert metric(client, "distillery_labelled_structures_total") == 33
    assert metric(client, "distillery_labelled_atoms_total") == small["n_atoms"] + large["n_atoms"]
    assert metric(client, "distillery_batch_atoms_count") >= 3
    assert metric(client, "distillery_teacher_workers") == 1


def test_the_card_names_teacher_weights_and_budgets(start: Start) -> None:
    card = start(FakeTeacher()).get("/v1/metadata").json()
    assert card["service"] == "labeller"
    assert card["teacher"]["name"] == "fake"
    assert card["teacher"]["weights_sha256"] == "f" * 64
    assert card["atom_budget"] == 64
    assert card["workers"] == 1


def test_a_teacher_without_weights_leaves_the_labeller_alive_and_says_what_is_missing(tmp_path: Path) -> None:
    def fail() -> None:
        raise Unavailable("put the weights there")

    app = create_labeller(FakeTeacher(on_load=fail), LabellerSettings(data=tmp_path, self_test=False))
    with serve(app, wait_until_ready=False) as url, httpx.Client(base_url=url) as client:
        until(lambda: "weights" in client.get("/v1/health/ready").json()["detail"])
        assert label(client, "p", []).json()["kind"] == "unavailable"
        assert client.get("/v1/metadata").json()["teacher"] is None


def test_a_shutdown_ends_a_load_that_is_under_way(tmp_path: Path) -> None:
    class Downloading(FakeTeacher):
        def load(self, stop: Stop) -> None:
            begun.set()
            until(stop.is_set)
            ended.set()

    begun, ended = threading.Event(), threading.Event()
    with serve(create_labeller(Downloading(), LabellerSettings(data=tmp_path, self_test=False)), wait_until_ready=False):
        assert begun.wait(10)
    assert ended.wait(5)


def test_an_unknown_teacher_is_refused_with_the_nearest_known_name() -> None:
    with pytest.raises(Unavailable, match="did you mean 'orb-v2'"):
        create_teacher(LabellerSettings(teacher="orbv2"))


def test_the_fake_teacher_is_not_offered() -> None:
    assert "fake" not in list_teachers()
    assert "7net-0" in list_teachers()


def test_parts_open_with_plain_h5py_and_carry_units(start: Start, tmp_path: Path) -> None:
    receipt(start(FakeTeacher()), "p", mixed("p", 3))
    with h5py.File(part_path(tmp_path / "d", "p"), "r") as file:
        assert file["labels/forces"].attrs["unit"] == "eV/Å"
        assert RECIPE in file.attrs["receipt"]
