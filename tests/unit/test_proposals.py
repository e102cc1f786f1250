"""Proposals on several cores: the same result on any number of them, workers that die, and a service that ends."""

import os
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from distillery.errors import Internal, Unavailable
from distillery.generators.generator import Made, Task
from distillery.generators.proposals import (
    PoolExhausted,
    Proposal,
    ProposalGenerator,
    Rejected,
    accept_outcome,
    finish_proposal,
    propose_one,
)
from distillery.generators.workers import wait_for
from distillery.runtime.stopping import Stopped
from distillery.schema.base import Message
from distillery.schema.generate import Metadata, Perturb, SystemCard
from distillery.structures.arrow import to_arrow
from distillery.structures.structure import Structure, System, numbers_of


class Scripted(Message):
    """How the proposer behaves; `die_at` ends the worker at that attempt, unless the file `once` is there.

    log     a file that gets a byte for every proposal
    end_at  the attempt at which there is nothing more to be had
    """

    log: str = ""
    end_at: int = 1_000_000
    die_at: int = -1
    once: str = ""
    twins: int = 1_000_000


class ScriptedProposer:
    """Pairs of atoms; every third attempt comes to nothing."""

    @property
    def metadata(self) -> Metadata:
        limits = SystemCard(
            min_atoms=1, max_atoms=9, default_min_atoms=2, default_max_atoms=2, elements=("Ar",), options_schema={"type": "object"}
        )
        return Metadata(service="scripted", version="1", method="", licence="", systems={"cluster": limits}, n_max=100, minimum_distance=1)

    @property
    def options(self) -> Mapping[System, type[Message]]:
        return {"cluster": Scripted}

    def check(self, task: Task) -> None: ...

    def propose(self, task: Task, rng: np.random.Generator) -> Proposal:
        options = task.options
        assert isinstance(options, Scripted)
        if options.log:
            with open(options.log, "ab") as log:
                log.write(b".")
        if task.attempt == options.die_at and not (options.once and os.path.exists(options.once)):
            if options.once:
                open(options.once, "w").close()
            os._exit(9)
        if task.attempt >= options.end_at:
            raise PoolExhausted
        if task.attempt % 3 == 2:
            raise Rejected("third")
        distance = 4.0 + rng.random()
        positions = np.array([[0.0, 0, 0], [distance, 0, 0]])
        structure = Structure("x", numbers_of(["Ar", "Ar"]), positions, system="cluster", origin={"attempt": task.attempt})
        return Proposal((structure,), key=str(task.attempt % options.twins))


def task(n: int = 20, **options: object) -> Task:
    return Task(n, 3, "shard", "cluster", ("Ar",), 2, 2, Perturb(rattle=0.01), Scripted(**options))


@pytest.fixture(params=[1, 2, 3])
def generator(request: pytest.FixtureRequest):
    made = ProposalGenerator(ScriptedProposer, request.param)
    yield made
    made.close()


def make(generator: ProposalGenerator, wanted: Task):
    return generator.generate(wanted, threading.Event(), lambda made, n: None)


def test_the_result_is_that_of_one_core_in_order(generator: ProposalGenerator) -> None:
    made = make(generator, task())
    assert [s.origin["attempt"] for s in made.structures] == [k for k in range(30) if k % 3 != 2][:20]
    assert [s.id for s in made.structures] == [f"shard/{i:04d}" for i in range(20)]
    assert made.attempts == 29
    assert made.rejected == {"third": 9}
    assert to_arrow(made.structures) == to_arrow(make(generator, task()).structures)


def test_any_number_of_workers_gives_the_bytes_of_one_process(generator: ProposalGenerator) -> None:
    wanted, expected, proposer, attempt = task(n=50, twins=40), Made(), ScriptedProposer(), 0
    keys = set[str]()
    while attempt < 25 * 50 and len(expected.structures) < 50:
        accept_outcome(propose_one(proposer, wanted, attempt), wanted, expected, keys)
        attempt += 1
    made = make(generator, wanted)
    assert to_arrow(made.structures) == to_arrow(expected.structures)
    assert (made.attempts, made.rejected) == (expected.attempts, expected.rejected)


@pytest.mark.parametrize("n", [5, 60])
def test_hardly_more_proposals_are_run_than_are_needed(generator: ProposalGenerator, tmp_path: Path, n: int) -> None:
    log = tmp_path / "log"
    made = make(generator, task(n=n, log=str(log)))
    generator.close()
    n_workers = generator._workers.n_workers
    assert made.attempts <= log.stat().st_size <= made.attempts + 2 * n_workers


def test_duplicates_are_rejected_and_the_budget_ends(generator: ProposalGenerator) -> None:
    made = make(generator, task(n=10, twins=4))
    assert len(made.structures) == 4
    assert made.attempts == 250
    assert made.rejected["duplicate"] > 100


@pytest.mark.parametrize("end_at", [0, 1, 8, 17])
def test_a_stretch_that_is_used_up_ends_the_task_and_is_no_attempt(generator: ProposalGenerator, end_at: int) -> None:
    made = make(generator, task(n=100, end_at=end_at))
    assert [s.origin["attempt"] for s in made.structures] == [k for k in range(end_at) if k % 3 != 2]
    assert made.attempts == end_at


def test_a_worker_that_dies_once_is_replaced(generator: ProposalGenerator, tmp_path) -> None:
    made = make(generator, task(die_at=4, once=str(tmp_path / "died")))
    assert (tmp_path / "died").exists()
    assert to_arrow(made.structures) == to_arrow(make(generator, task(die_at=4, once=str(tmp_path / "died"))).structures)
    assert len(made.structures) == 20


def test_a_worker_that_dies_again_and_again_is_an_error_and_the_next_task_works(generator: ProposalGenerator) -> None:
    with pytest.raises(Internal, match="died twice on shard"):
        make(generator, task(die_at=4))
    assert len(make(generator, task()).structures) == 20


def test_a_result_that_comes_as_the_wait_ends_is_taken() -> None:
    class Late(Future[int]):
        def result(self, timeout: float | None = None) -> int:
            if timeout is not None:
                self.set_result(7)
                raise TimeoutError
            return super().result()

    assert wait_for(Late(), threading.Event()) == 7


def test_only_the_structures_of_a_proposal_that_fail_a_check_are_dropped_and_counted() -> None:
    sound, close = (Structure("x", numbers_of(["Ar", "Ar"]), np.array([[0.0, 0, 0], [r, 0, 0]]), system="cluster") for r in (4.0, 0.3))
    rng, wanted = np.random.default_rng(0), replace(task(), perturb=Perturb())
    finished = finish_proposal(Proposal((close, sound, close, sound)), wanted, rng)
    assert isinstance(finished, Proposal)
    assert finished.structures == (sound, sound)
    made = Made()
    accept_outcome(finished, wanted, made, set())
    assert (len(made.structures), made.attempts, made.rejected) == (2, 1, {"atoms_too_close": 2})
    assert finish_proposal(Proposal((close, close)), wanted, rng) == "atoms_too_close"


def test_a_set_stop_ends_the_work(generator: ProposalGenerator) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        generator.generate(task(), stop, lambda made, n: None)


def find_workers() -> list[psutil.Process]:
    """The processes that were forked from this one's fork server."""
    return [p for p in psutil.Process().children(recursive=True) if p.ppid() != os.getpid()]


def test_workers_are_forked_from_a_process_of_one_thread(generator: ProposalGenerator) -> None:
    generator.load()
    (server,) = {p.ppid() for p in find_workers()}
    assert psutil.Process(server).num_threads() == 1


def test_closing_leaves_no_worker_and_starts_none(generator: ProposalGenerator) -> None:
    generator.load()
    generator.close()
    assert find_workers() == []
    with pytest.raises(Unavailable, match="shutting down"):
        generator.load()
