"""GeoDiff's own parts: graphs as upstream numbers them, the pool, and which conformers are refused. Needs no upstream code."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi import FastAPI
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from distillery.errors import Busy, InvalidRequest, Unavailable, Unsupported
from distillery.generators.generator import Task
from distillery.generators.models.model import Loaded
from distillery.generators.models.sampling import SampledGenerator
from distillery.generators.plugins import build_service
from distillery.generators.proposals import Proposal
from distillery.generators.service import ServiceSettings, create_app
from distillery.runtime.stopping import Stopped
from distillery.runtime.versions import name_machine
from distillery.schema.generate import Perturb
from distillery.structures.structure import DEFAULT_ELEMENTS
from distillery.weights.checksums import sha256_of
from services.geodiff.graphs import make_graphs
from services.geodiff.model import Equipment, GeoDiff, propose
from services.geodiff.network import Network
from services.geodiff.options import GeoDiffOptions
from services.geodiff.pool import BUILT_IN, BuiltInPool, MoleculePool, Wanted, choose, list_suitable, read_built_in
from services.geodiff.rdkit_pool import RdkitPool, find_rdkit
from services.geodiff.settings import GeoDiffSettings
from services.geodiff.upstream import BOND_TYPES
from services.rdkit.generator import MoleculeProposer
from tests.fake_service import FakeGenerator
from tests.serving import serve


def make_task(low: int = 3, high: int = 60, elements: tuple[str, ...] = DEFAULT_ELEMENTS, **options: object) -> Task:
    return Task(4, 1, "s", "molecule", elements, low, high, Perturb(), GeoDiffOptions(**options))  # type: ignore[arg-type]


def load(pool: MoleculePool) -> Loaded[Equipment]:
    """Some network beside the pool."""
    return Loaded(Equipment(Network(torch.nn.Identity(), {}, "cpu"), pool), "cpu", "0", "small", "0" * 64)


def check(task: Task, pool: MoleculePool | None = None) -> None:
    """By the service with the built-in pool, or another."""
    GeoDiff(GeoDiffSettings(checkpoint="small")).check(task, load(pool or BuiltInPool()))


def ignore(share: float) -> None:
    """Nobody is told."""


@pytest.fixture(scope="module")
def rdkit_app() -> FastAPI:
    return build_service("rdkit")


@pytest.fixture(scope="module")
def rdkit_url(rdkit_app: FastAPI) -> Iterator[str]:
    with serve(rdkit_app) as url:
        yield url


@pytest.fixture
def rdkit_pool(rdkit_url: str) -> RdkitPool:
    return find_rdkit(rdkit_url)


def be_busy(app: FastAPI, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """The next requests of a service are told that it is busy."""
    generator, left = app.state.generator, iter(range(times))
    generate = generator.generate

    def refuse_first(*arguments: Any) -> Any:
        if next(left, None) is not None:
            raise Busy("8 requests wait already", retry_after=1)
        return generate(*arguments)

    monkeypatch.setattr(generator, "generate", refuse_first)


def embed(smiles: str) -> tuple[Chem.Mol, np.ndarray]:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    placed = Chem.Mol(mol)
    assert rdDistGeom.EmbedMolecule(placed, randomSeed=7) == 0
    return mol, placed.GetConformer().GetPositions()


def test_edges_are_bonds_and_graph_distances_up_to_three() -> None:
    graphs = make_graphs([Chem.MolFromSmiles("CC=O"), Chem.MolFromSmiles("CCCCC")], order=3)
    found = {(int(i), int(j)): int(t) for (i, j), t in zip(graphs.edges.T, graphs.edge_types, strict=True)}
    single, double = BOND_TYPES[Chem.BondType.SINGLE], BOND_TYPES[Chem.BondType.DOUBLE]
    assert (single, double, BOND_TYPES[Chem.BondType.AROMATIC]) == (1, 2, 12)
    assert found[0, 1] == found[1, 0] == single
    assert found[1, 2] == double
    assert found[0, 2] == len(BOND_TYPES) + 1
    assert found[3, 6] == len(BOND_TYPES) + 2
    assert (3, 7) not in found
    assert (2, 3) not in found
    assert graphs.batch.tolist() == [0] * 3 + [1] * 5
    assert graphs.sizes == (3, 5)


def test_the_pool_comes_round_before_any_molecule_comes_again() -> None:
    pool = list_suitable([Wanted(smiles, "request") for smiles in ("C", "CC", "CCC")], make_task())
    chosen = [wanted.smiles for wanted in choose(pool, 7, conformers=1, seed=3)]
    assert sorted(chosen[:3]) == sorted(chosen[3:6]) == ["C", "CC", "CCC"]
    assert [wanted.smiles for wanted in choose(pool, 7, conformers=1, seed=3)] == chosen
    twice = [wanted.smiles for wanted in choose(pool, 6, conformers=2, seed=3)]
    assert twice[0::2] == twice[1::2]


def test_the_built_in_pool_serves_every_size_and_few_elements() -> None:
    assert len(set(read_built_in())) == len(read_built_in()) >= 500
    assert not any("@" in wanted.smiles for wanted in read_built_in())
    for low, high in ((10, 16), (20, 30), (50, 70)):
        assert len(list_suitable(read_built_in(), make_task(low, high))) > 10
    assert list_suitable(read_built_in(), make_task(elements=("H", "C", "N", "O")))


def test_the_built_in_pool_is_parsed_but_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list_suitable(read_built_in(), make_task())
    monkeypatch.delattr("rdkit.Chem.MolFromSmiles")
    assert list_suitable(read_built_in(), make_task(10, 20))


@pytest.mark.parametrize(
    ("smiles", "problem", "named"),
    [
        ("C1CC", InvalidRequest, "C1CC"),
        ("CBr", Unsupported, "Br"),
        ("C" * 40, Unsupported, "122 atoms"),
        ("CC.O", Unsupported, "not one molecule"),
        ("CC(=O)[O-]", Unsupported, "ion"),
        ("[CH3]", Unsupported, "radical"),
        ("CCO |^1:0|", Unsupported, "radical"),
        ("CCO\nCCN", InvalidRequest, "not a SMILES"),
        ("CCO a\u2028CCN", InvalidRequest, "not a SMILES"),
    ],
)
def test_given_molecules_that_do_not_fit_are_refused_by_name(smiles: str, problem: type[Exception], named: str) -> None:
    with pytest.raises(problem, match=named):
        check(make_task(smiles=["CCO", smiles]))


def test_a_pool_without_a_molecule_of_that_size_says_what_to_do() -> None:
    with pytest.raises(Unsupported, match=r"options\.smiles"):
        check(make_task(190, 200))


def test_a_good_conformer_passes_and_heavy_atoms_stay() -> None:
    mol, positions = embed("C[C@H](N)C(=O)O")
    outcome = propose(mol, positions, {"model": "geodiff"}, relax=True)
    assert isinstance(outcome, Proposal)
    (structure,) = outcome.structures
    heavy = structure.numbers > 1
    assert np.array_equal(structure.positions[heavy], positions[heavy])
    assert not np.array_equal(structure.positions[~heavy], positions[~heavy])
    assert structure.origin["smiles"] == "C[C@H](N)C(=O)O"


def test_the_mirror_image_is_refused_where_the_isomer_was_named_and_welcome_where_not() -> None:
    named, positions = embed("C[C@H](N)C(=O)O")
    assert propose(named, -positions, {}, relax=True) == "stereo"
    free = Chem.AddHs(Chem.MolFromSmiles("CC(N)C(=O)O"))
    assert isinstance(propose(free, -positions, {}, relax=True), Proposal)


def test_broken_geometry_is_refused_with_a_reason() -> None:
    mol, positions = embed("CCO")
    stretched, crushed, lost = positions.copy(), positions.copy(), positions.copy()
    stretched[0] += 3.0
    crushed[4] = crushed[5] + 0.05
    lost[1, 0] = np.nan
    assert propose(mol, stretched, {}, relax=False) == "distorted"
    assert isinstance(propose(mol, crushed, {}, relax=False), str)
    assert propose(mol, lost, {}, relax=False) == "not_finite"


def test_an_rdkit_service_is_the_pool(rdkit_pool: RdkitPool) -> None:
    pool = rdkit_pool.find(make_task(10, 20), 5, 4, ignore)
    assert pool == rdkit_pool.find(make_task(10, 20), 5, 4, ignore)
    assert len(pool) == 5
    assert list_suitable(pool, make_task(10, 20)) == pool


def test_the_card_says_which_pool_the_molecules_come_from(rdkit_pool: RdkitPool) -> None:
    model = GeoDiff(GeoDiffSettings(checkpoint="small"))
    assert model.describe(load(BuiltInPool())).versions["pool"] == f"built-in {sha256_of(BUILT_IN)[:12]}"
    card = MoleculeProposer().metadata
    versions = {**card.versions, "libc": name_machine()["libc"]}
    named = [f"{library} {version}" for library, version in sorted(versions.items())]
    assert model.describe(load(rdkit_pool)).versions["pool"] == " / ".join([f"rdkit {card.version}", *named])


def test_what_the_pool_refuses_is_refused_in_its_words(rdkit_pool: RdkitPool) -> None:
    task = make_task(10, 20, ("N", "O"))
    with pytest.raises(Unsupported, match="H and C missing") as refused:
        rdkit_pool.find(task, 2, 1, ignore)
    assert "DISTILLERY_GEODIFF_POOL" in refused.value.detail


def test_sizes_that_the_pool_does_not_have_are_refused_before_it_is_asked(rdkit_pool: RdkitPool) -> None:
    with pytest.raises(Unsupported, match=r"5-200 atoms, asked for 3-4.*options\.smiles"):
        check(make_task(3, 4), rdkit_pool)
    check(make_task(3, 4, smiles=["O"]), rdkit_pool)
    check(make_task(5, 10), rdkit_pool)


def test_more_molecules_than_the_pool_makes_at_once_come_again(rdkit_pool: RdkitPool) -> None:
    small = replace(rdkit_pool, card=rdkit_pool.card.model_copy(update={"n_max": 2}))
    assert len(small.find(make_task(10, 20), 5, 4, ignore)) == 2


def test_a_busy_pool_is_asked_again_when_it_says(rdkit_app: FastAPI, rdkit_pool: RdkitPool, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = rdkit_pool.find(make_task(10, 20), 2, 4, ignore)
    be_busy(rdkit_app, monkeypatch, times=1)
    assert rdkit_pool.find(make_task(10, 20), 2, 4, ignore) == expected


def test_waiting_for_a_busy_pool_ends_with_the_request(rdkit_app: FastAPI, rdkit_pool: RdkitPool, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(share: float) -> None:
        raise Stopped

    be_busy(rdkit_app, monkeypatch, times=100)
    with pytest.raises(Stopped):
        rdkit_pool.find(make_task(10, 20), 2, 4, stop)


def test_a_pool_that_stays_busy_is_busy(rdkit_app: FastAPI, rdkit_pool: RdkitPool, monkeypatch: pytest.MonkeyPatch) -> None:
    be_busy(rdkit_app, monkeypatch, times=100)
    monkeypatch.setattr("services.geodiff.rdkit_pool._LONGEST_WAIT", 0.5)
    with pytest.raises(Busy, match="8 requests wait") as busy:
        rdkit_pool.find(make_task(10, 20), 2, 4, ignore)
    assert busy.value.retry_after == 1


def test_a_pool_that_was_exchanged_is_not_taken_for_the_one_before(rdkit_pool: RdkitPool) -> None:
    before = replace(rdkit_pool, card=rdkit_pool.card.model_copy(update={"version": "0.9"}))
    with pytest.raises(Unavailable, match=rf"is rdkit {MoleculeProposer().metadata.version} .* was rdkit 0\.9 .*start geodiff again"):
        before.find(make_task(10, 20), 2, 4, ignore)


def test_without_its_pool_the_service_is_not_ready(rdkit_url: str, tmp_path: Path) -> None:
    for url, fault in (("http://127.0.0.1:9", "can't be reached"), (f"{rdkit_url}/v1", "Not Found")):
        settings = GeoDiffSettings(checkpoint="small", weights=tmp_path, pool=url)
        with pytest.raises(Unavailable, match=f"DISTILLERY_GEODIFF_POOL.*{fault}"):
            SampledGenerator(GeoDiff(settings)).load()


def test_a_pool_that_makes_no_molecules_is_named() -> None:
    with (
        serve(create_app(FakeGenerator(), ServiceSettings())) as url,
        pytest.raises(Unavailable, match="is fake, which makes no molecules"),
    ):
        find_rdkit(url)


def test_without_weights_it_says_which_file_it_wants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upstream = tmp_path / "upstream" / "geodiff"
    upstream.mkdir(parents=True)
    monkeypatch.setenv("UPSTREAM_DIR", str(upstream.parent))
    with pytest.raises(Unavailable, match=r"drugs_default\.pt"):
        SampledGenerator(GeoDiff(GeoDiffSettings(checkpoint="drugs_default", weights=tmp_path, download=False))).load()


def test_without_upstream_it_says_where_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_DIR", str(tmp_path))
    with pytest.raises(Unavailable, match="MinkaiXu/GeoDiff"):
        SampledGenerator(GeoDiff(GeoDiffSettings(checkpoint="small", weights=tmp_path))).load()
