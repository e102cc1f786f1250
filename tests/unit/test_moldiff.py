"""What is ours around MolDiff's networks: sizes, batches, options, the way from a sample to a structure, what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from distillery.errors import InvalidRequest, Unavailable
from distillery.generators.generator import resolve_task
from distillery.generators.models.sampling import SampledGenerator
from distillery.generators.proposals import Proposal
from distillery.schema.generate import GenerateRequest
from distillery.weights.catalogue import read_catalogue
from services.moldiff.batches import lay_out
from services.moldiff.model import FOLDER, MolDiff, propose
from services.moldiff.options import MolDiffOptions
from services.moldiff.settings import MolDiffSettings
from services.moldiff.sizes import GEOM_DRUGS, Trained, weigh_sizes
from services.moldiff.sketch import Sketch, read_sketch


def sketch_of(smiles: str) -> Sketch:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert rdDistGeom.EmbedMolecule(mol, randomSeed=7) == 0
    return read_sketch(mol)


def mean_size(n_atoms: tuple[int, int], n_heavy: tuple[int, int] = (2, 150), trained: Trained = GEOM_DRUGS) -> float:
    sizes = weigh_sizes(n_atoms, n_heavy, trained)
    return float(sizes.n_heavy @ sizes.chances)


def test_sizes_are_those_of_the_training_set_where_any_may_come_out() -> None:
    assert mean_size((5, 200)) == pytest.approx(GEOM_DRUGS.mean, abs=0.5)
    assert mean_size((5, 200), trained=Trained(7, 1.5)) == pytest.approx(7, abs=0.3)


@pytest.mark.parametrize(("n_atoms", "n_heavy"), [((10, 12), (4, 8)), ((50, 50), (22, 32)), ((90, 100), (40, 56)), ((200, 200), (75, 130))])
def test_sizes_lead_to_the_number_of_atoms_that_was_asked_for(n_atoms: tuple[int, int], n_heavy: tuple[int, int]) -> None:
    assert n_heavy[0] <= mean_size(n_atoms) <= n_heavy[1]


def test_sizes_stay_in_the_range_of_heavy_atoms() -> None:
    drawn = weigh_sizes((10, 100), (7, 9), GEOM_DRUGS).draw(50, np.random.default_rng(1))
    assert set(drawn) == {7, 8, 9}


def test_heavy_atoms_that_can_not_give_the_size_leave_no_sizes() -> None:
    assert not weigh_sizes((80, 100), (5, 9), GEOM_DRUGS).n_heavy.size


def test_the_same_seed_draws_the_same_sizes() -> None:
    sizes = weigh_sizes((10, 100), (2, 150), GEOM_DRUGS)
    assert sizes.draw(20, np.random.default_rng(3)) == sizes.draw(20, np.random.default_rng(3))


def test_a_batch_numbers_atoms_and_pairs_through_all_molecules() -> None:
    layout = lay_out([2, 3])
    assert layout.batch_node.tolist() == [0, 0, 1, 1, 1]
    assert layout.halfedge_index.tolist() == [[0, 2, 2, 3], [1, 3, 4, 4]]
    assert layout.batch_halfedge.tolist() == [0, 1, 1, 1]
    assert layout.batch_node.dtype == torch.int64


def test_a_molecule_of_one_heavy_atom_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        lay_out([5, 1])


def test_a_sketch_becomes_a_structure_with_hydrogens_and_smiles() -> None:
    proposal = propose(sketch_of("Oc1ccc(C(F)F)cc1"), may_be_charged=False)
    assert isinstance(proposal, Proposal)
    [structure] = proposal.structures
    assert proposal.key == structure.origin["smiles"] == "Oc1ccc(C(F)F)cc1"
    assert structure.symbols.count("H") == 6
    assert structure.origin == {"smiles": proposal.key}


def test_an_ion_passes_only_where_it_is_allowed() -> None:
    ion = sketch_of("C[N+](C)(C)C")
    assert propose(ion, may_be_charged=False) == "charged"
    allowed = propose(ion, may_be_charged=True)
    assert isinstance(allowed, Proposal)
    assert allowed.structures[0].origin["charge"] == 1


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda positions: positions.__setitem__(0, np.nan), "not_finite"),
        (lambda positions: positions.__setitem__(0, positions[1]), "atoms_too_close"),
        (lambda positions: positions.__setitem__(0, positions[0] * 1e6), "too_large"),
        (lambda positions: positions.__imul__(2.5), "distorted"),
    ],
)
def test_a_bad_sample_is_a_reason(spoil: object, reason: str) -> None:
    sketch = sketch_of("CCOC(=O)C")
    spoil(sketch.positions)  # type: ignore[operator]
    assert propose(sketch, may_be_charged=False) == reason


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"min_heavy_atoms": 1}, "min_heavy_atoms"),
        ({"min_heavy_atoms": 9, "max_heavy_atoms": 8}, "must not exceed"),
        ({"guidance_scale": 0}, "guidance_scale"),
        ({"bond_guidance": 1}, "bond_guidance"),
    ],
)
def test_bad_options_are_refused_by_name(options: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidRequest, match=named):
        resolve_task(GenerateRequest(n=1, seed=1, elements=("H", "C"), options=options), SampledGenerator(MolDiff(MolDiffSettings())))


def test_before_it_is_loaded_the_card_is_there_and_requests_are_not_served() -> None:
    generator = SampledGenerator(MolDiff(MolDiffSettings(checkpoint="small")))
    assert generator.metadata.weights_sha256 is None
    assert generator.metadata.generative
    with pytest.raises(Unavailable, match="not loaded"):
        resolve_task(GenerateRequest(n=1, seed=1, elements=("H", "C")), generator)


def test_without_upstreams_code_it_says_where_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_DIR", str(tmp_path))
    with pytest.raises(Unavailable, match="pengxingang/MolDiff"):
        SampledGenerator(MolDiff(MolDiffSettings(checkpoint="small"))).load()


def test_the_default_checkpoint_is_in_the_catalogue_with_its_bond_predictor() -> None:
    assert set(read_catalogue(FOLDER)[MolDiffSettings().checkpoint].files) == {"MolDiff.pt", "bond_predictor.pt"}


def test_the_small_checkpoint_is_small() -> None:
    assert sum(path.stat().st_size for path in (FOLDER / "small").glob("*.pt")) <= 2_000_000


def test_the_default_range_of_heavy_atoms_is_open() -> None:
    assert MolDiffOptions(min_heavy_atoms=9).heavy_range == (9, 150)
