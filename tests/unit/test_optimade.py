"""The optimade service against a real OPTIMADE server: pages, refusals, the sealed pool, sampling without replacement."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distillery.errors import Unavailable, Unsupported
from distillery.generators.compounds import find_compounds
from distillery.generators.generator import Made, Task, resolve_task
from distillery.generators.proposals import PoolExhausted, Proposal, accept_outcome, propose_one
from distillery.schema.generate import GenerateRequest, PoolSlice
from distillery.structures.structure import DEFAULT_ELEMENTS, Structure
from services.optimade.client import Provider, write_filter
from services.optimade.entries import parse_entry
from services.optimade.generator import OptimadeProposer, build
from services.optimade.pool import ensure_pool, read_pool
from services.optimade.settings import OptimadeSettings
from tests.optimade_server import list_compounds, serve_optimade, write_entry

pytest.importorskip("optimade.server", reason="the package `optimade[server]` is not installed")
NEVER = threading.Event()
QUARTZ = next(c.structure for c in find_compounds(DEFAULT_ELEMENTS) if "quartz (alpha)" in c.names)
PARTIAL = [
    {"name": "Si", "chemical_symbols": ["Si"], "concentration": [0.5]},
    {"name": "O", "chemical_symbols": ["O"], "concentration": [1.0]},
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    entries = [
        *list_compounds(),
        write_entry("disordered", QUARTZ, structure_features=["disorder"]),
        write_entry("partial", QUARTZ, species=PARTIAL),
        write_entry("layer", QUARTZ, dimension_types=[1, 1, 0], nperiodic_dimensions=2),
    ]
    with serve_optimade(tmp_path_factory.mktemp("optimade"), entries) as url:
        yield url


@pytest.fixture
def settings(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OptimadeSettings:
    monkeypatch.setenv("DISTILLERY_OPTIMADE_URL", url)
    monkeypatch.setenv("DISTILLERY_OPTIMADE_FOLDER", str(tmp_path))
    monkeypatch.setenv("DISTILLERY_OPTIMADE_PAGE_LIMIT", "7")
    return OptimadeSettings()


@pytest.fixture
def proposer(settings: OptimadeSettings) -> OptimadeProposer:
    ensure_pool(settings, NEVER)
    return OptimadeProposer(OptimadeSettings())


def task_of(proposer: OptimadeProposer, **request: Any) -> Task:
    proposer.pool  # noqa: B018
    return resolve_task(GenerateRequest(**{"n": 5, "seed": 3, **request}), proposer)  # type: ignore[arg-type]


def make(proposer: OptimadeProposer, task: Task, attempts: int) -> Made:
    """What comes of the first attempts, in order, as a worker pool would accept it."""
    made, keys = Made(), set[str]()
    for attempt in range(attempts):
        try:
            accept_outcome(propose_one(proposer, task, attempt), task, made, keys)
        except PoolExhausted:
            break
    return made


def ids(structures: list[Structure]) -> list[str]:
    return [s.origin["id"] for s in structures]


def test_all_pages_are_followed_and_the_pool_is_sorted(settings: OptimadeSettings) -> None:
    pool = read_pool(ensure_pool(settings, NEVER))
    assert len(pool.structures) == len(list_compounds()) > 40  # 7 a page
    assert ids(list(pool.structures)) == sorted(ids(list(pool.structures)))
    quartz = next(s for s in pool.structures if len(s) == 9 and set(s.symbols) == {"Si", "O"})
    assert any(np.allclose(quartz.positions, c.structure.positions) for c in find_compounds(DEFAULT_ELEMENTS) if len(c.structure) == 9)


def test_disordered_partial_and_layered_entries_are_refused_and_counted(settings: OptimadeSettings) -> None:
    pool = read_pool(ensure_pool(settings, NEVER))
    assert pool.refused == {"disordered": 2, "not_periodic": 1}
    assert not {"disordered", "partial", "layer"} & set(ids(list(pool.structures)))
    assert "2 disordered" in pool.version


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"structure_features": ["disorder"]}, "disordered"),
        ({"species": PARTIAL}, "disordered"),
        ({"structure_features": ["implicit_atoms"]}, "implicit_atoms"),
        ({"dimension_types": [1, 1, 0]}, "not_periodic"),
        ({"lattice_vectors": None}, "incomplete"),
        ({"cartesian_site_positions": [[0, 0, 0]]}, "incomplete"),
        ({"species": None}, "incomplete"),
        ({"cartesian_site_positions": [[0, 0, 0]] * 9}, "atoms_too_close"),
    ],
)
def test_entries_that_are_no_ordered_crystal_are_refused_by_reason(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(Exception, match=reason):
        parse_entry({"id": "x", "attributes": write_entry("x", QUARTZ, **change)}, DEFAULT_ELEMENTS, 100)
    assert len(parse_entry({"id": "x", "attributes": write_entry("x", QUARTZ)}, DEFAULT_ELEMENTS, 100)) == 9


def test_large_cells_and_other_elements_are_refused() -> None:
    entry = {"id": "x", "attributes": write_entry("x", QUARTZ)}
    with pytest.raises(Exception, match="too_large"):
        parse_entry(entry, DEFAULT_ELEMENTS, 8)
    with pytest.raises(Exception, match="foreign_element"):
        parse_entry(entry, ("Si",), 100)


def test_a_filter_of_the_settings_is_sent_beside_that_of_the_elements(settings: OptimadeSettings) -> None:
    narrow = settings.model_copy(update={"filter": "nsites < 8", "elements": ("Si", "O", "Ag")})
    assert write_filter(narrow) == 'elements HAS ONLY "Si", "O", "Ag" AND (nsites < 8)'
    pool = read_pool(ensure_pool(narrow, NEVER))
    assert {len(s) for s in pool.structures} <= set(range(1, 8))
    assert read_pool(ensure_pool(settings, NEVER)).sha256 != pool.sha256
    wrong = settings.model_copy(update={"filter": "nsites <"})
    with pytest.raises(Unavailable, match="answered 400"):
        ensure_pool(wrong, NEVER)


def test_no_more_entries_are_read_than_wanted(settings: OptimadeSettings) -> None:
    few = settings.model_copy(update={"max_entries": 10})
    with Provider(few, NEVER) as provider:
        assert len(list(provider.read_entries())) == 10


def test_without_a_network_the_cached_pool_will_do_and_nothing_else(settings: OptimadeSettings, tmp_path: Path) -> None:
    path = ensure_pool(settings, NEVER)
    offline = settings.model_copy(update={"download": False})
    assert ensure_pool(offline, NEVER) == path
    path.unlink()
    with pytest.raises(Unavailable, match="DISTILLERY_OPTIMADE_DOWNLOAD is off"):
        ensure_pool(offline, NEVER)


def test_a_provider_that_is_not_there_is_unavailable_by_its_address(settings: OptimadeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Provider, "_pause", lambda self, seconds: None)
    nowhere = settings.model_copy(update={"url": "http://127.0.0.1:9"})
    with pytest.raises(Unavailable, match=r"http://127\.0\.0\.1:9 can't be asked: ConnectError"):
        ensure_pool(nowhere, NEVER)
    with pytest.raises(Unavailable, match="DISTILLERY_OPTIMADE_URL"):
        ensure_pool(settings.model_copy(update={"url": None}), NEVER)


def test_a_damaged_pool_is_refused(settings: OptimadeSettings) -> None:
    path = ensure_pool(settings, NEVER)
    content = json.loads(path.read_text("utf-8"))
    content["structures"][0]["positions"][0][0] += 0.1
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(Unavailable, match="sha256"):
        read_pool(path)


def test_slices_share_out_the_pool(proposer: OptimadeProposer) -> None:
    common = {"elements": ["Si", "O", "C"], "min_atoms": 1, "max_atoms": 200}
    n_fitting = sum(set(s.symbols) <= {"Si", "O", "C"} for s in proposer.pool.structures)
    parts = [
        make(proposer, task_of(proposer, **common, seed=start, pool_slice=PoolSlice(seed=9, start=start)), 5) for start in range(0, 15, 5)
    ]
    taken = [id for part in parts for id in ids(part.structures)]
    assert len(set(taken)) == len(taken) > 10
    beyond = make(proposer, task_of(proposer, **common, pool_slice=PoolSlice(seed=9, start=n_fitting - 2)), 5)
    assert beyond.rejected["pool_used_up"] == 3


def test_structures_are_repeated_to_size_and_say_where_they_are_from(proposer: OptimadeProposer, url: str) -> None:
    made = make(proposer, task_of(proposer, min_atoms=50, max_atoms=80), 5)
    assert made.structures
    for s in made.structures:
        assert 50 <= len(s) <= 80
        assert s.origin["provider"] == url
        assert s.origin["licence"]
        assert s.origin["id"].startswith("compound-")
        assert s.origin["formula"]


def test_the_same_seed_gives_the_same_structures_and_another_seed_others(proposer: OptimadeProposer) -> None:
    first, again, other = (ids(make(proposer, task_of(proposer, seed=seed), 5).structures) for seed in (1, 1, 2))
    assert first == again != other


def test_the_pool_is_told_among_the_versions_once_the_service_is_ready(settings: OptimadeSettings) -> None:
    generator = build()
    assert "pool" not in generator.metadata.versions
    try:
        generator.load()
        assert generator.metadata.versions["pool"].endswith(read_pool(ensure_pool(settings, NEVER)).sha256)
        made = generator.generate(resolve_task(GenerateRequest(n=3, seed=1), generator), NEVER, lambda made, n: None)
        assert len(made.structures) == 3
    finally:
        generator.close()


def test_what_no_crystal_fits_is_refused(proposer: OptimadeProposer) -> None:
    with pytest.raises(Unsupported, match="none of the"):
        task_of(proposer, elements=["F"])


def test_a_proposal_is_a_function_of_its_attempt(proposer: OptimadeProposer) -> None:
    task = task_of(proposer, perturb={"rattle": 0.05, "strain": 0.03})
    one, two = (propose_one(proposer, task, 2) for _ in range(2))
    assert isinstance(one, Proposal)
    assert isinstance(two, Proposal)
    assert np.array_equal(one.structures[0].positions, two.structures[0].positions)
