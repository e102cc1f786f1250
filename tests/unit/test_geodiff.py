"""GeoDiff's own parts: graphs as upstream numbers them, the pool, and which conformers are refused. Needs no upstream code."""

from pathlib import Path

import numpy as np
import pytest
import torch
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from contract.generator import Task
from contract.messages import Perturb
from contract.problems import InvalidRequest, Unavailable, Unsupported
from contract.proposals import Proposal
from contract.structures import DEFAULT_ELEMENTS
from generative.model import Loaded
from generative.sampling import SampledGenerator
from services.geodiff.graphs import make_graphs
from services.geodiff.model import GeoDiff, propose
from services.geodiff.network import Network
from services.geodiff.options import GeoDiffOptions
from services.geodiff.pool import Wanted, ask_rdkit, choose, list_suitable, read_built_in
from services.geodiff.settings import GeoDiffSettings
from services.geodiff.upstream import BOND_TYPES
from services.rdkit.app import build as build_rdkit
from tests.serving import serve


def make_task(low: int = 3, high: int = 60, elements: tuple[str, ...] = DEFAULT_ELEMENTS, **options: object) -> Task:
    return Task(4, 1, "s", "molecule", elements, low, high, Perturb(), GeoDiffOptions(**options))  # type: ignore[arg-type]


def check(task: Task) -> None:
    """By the service with some network."""
    network = Network(torch.nn.Identity(), {}, "cpu")
    GeoDiff(GeoDiffSettings(checkpoint="small")).check(task, Loaded(network, "cpu", "0", "small", "0" * 64))


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


def test_an_rdkit_service_is_the_pool() -> None:
    with serve(build_rdkit()) as url:
        pool = ask_rdkit(url, make_task(10, 20), 5, seed=4)
        assert pool == ask_rdkit(url, make_task(10, 20), 5, seed=4)
        assert len(pool) == 5
        assert list_suitable(pool, make_task(10, 20)) == pool


def test_a_pool_that_is_away_or_no_service_is_named() -> None:
    with pytest.raises(Unavailable, match="DISTILLERY_GEODIFF_POOL"):
        ask_rdkit("http://127.0.0.1:9", make_task(), 1, seed=1)
    with serve(build_rdkit()) as url, pytest.raises(Unavailable, match="answered 404"):
        ask_rdkit(f"{url}/v1", make_task(), 1, seed=1)


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
