"""Splits: no parent on two sides, whatever is added; parents of real structures of the services."""

import json
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery.dataset.splits import JOINED, SIDES, choose_side, find_parent, parse_fractions, read_parents, split_dataset
from distillery.errors import InvalidRequest
from distillery.generators.generator import resolve_task
from distillery.generators.perturb import perturb_structure
from distillery.generators.proposals import propose_one
from distillery.schema.generate import GenerateRequest, Perturb
from distillery.structures.structure import Structure, System, from_ase, numbers_of, to_ase
from services.ase.generator import ClusterSurfaceProposer
from services.benchmarks.generator import BenchmarkGenerator
from services.benchmarks.settings import BenchmarkSettings
from services.pymatgen.generator import CrystalProposer
from services.rdkit.generator import MoleculeProposer
from tests.benchmark_files import rock_salts, write_matbench
from tests.datasets import write_dataset
from tests.structures import copper_slab, methane, silicon, water

PROPOSERS: dict[str, Callable[[], Any]] = {"rdkit": MoleculeProposer, "pymatgen": CrystalProposer, "ase": ClusterSurfaceProposer}
MOVED = Perturb(rattle=0.03, strain=0.02)


def make(service: str, n_attempts: int, **request: Any) -> list[Structure]:
    """What a service makes of the first proposals of a request."""
    proposer = PROPOSERS[service]()
    task = resolve_task(GenerateRequest(n=n_attempts, seed=3, **request), proposer)
    outcomes = [propose_one(proposer, task, attempt) for attempt in range(n_attempts)]
    return [s for outcome in outcomes if not isinstance(outcome, str) for s in outcome.structures]


def parent(service: str, structure: Structure) -> str:
    return find_parent(service, structure.system, structure.numbers, structure.origin)


@pytest.mark.parametrize(("service", "system"), [(name, s) for name, make in PROPOSERS.items() for s in make().metadata.systems])
def test_copies_have_the_parent_of_their_original(service: str, system: str) -> None:
    made = make(service, 6, system=system, max_atoms=60)
    assert made
    for structure in made:
        moved = perturb_structure(structure, MOVED, np.random.default_rng(0))
        assert parent(service, moved) == parent(service, structure)
        if structure.is_periodic:
            larger = from_ase(to_ase(structure) * (2, 1, 1), id="", system=structure.system, origin=structure.origin)
            assert parent(service, larger) == parent(service, structure)


def test_conformers_and_stereoisomers_are_one_parent() -> None:
    smiles = ["C[C@H](O)[C@H](F)CCl", "C[C@@H](O)[C@H](F)CCl", "CCCCC(=O)NCCO"]
    made = make("rdkit", 3, perturb=MOVED, options={"smiles": smiles, "conformers": 4})
    parents = {s.origin["smiles"]: parent("rdkit", s) for s in made}
    assert len(made) > len(parents) == 3
    assert sorted(parents.values()).count("finite H8 C4 O1 F1 Cl1") == 2
    assert "finite H15 C7 N1 O2" in parents.values()


def test_supercells_strains_and_volumes_of_one_crystal_are_one_parent() -> None:
    common: dict[str, Any] = {"system": "crystal", "elements": ("Si",), "perturb": MOVED, "min_atoms": 20}
    diamond = make("pymatgen", 5, **common, options={"kinds": {"real": 1}, "prototypes": ["silicon"]})
    assert len({len(s) for s in diamond}) > 1
    assert {parent("pymatgen", s) for s in diamond} == {"periodic Si1, space group 227"}
    others = make("pymatgen", 5, **common, options={"kinds": {"symmetric": 1}, "max_elements": 1})
    assert len({parent("pymatgen", s) for s in others}) > 1


def test_slabs_of_one_crystal_and_face_are_one_parent() -> None:
    options = {"prototypes": ["elemental"], "max_index": 1}
    made = make("ase", 20, system="surface", elements=("Si", "H", "Cl"), max_atoms=120, options=options)
    parents = [parent("ase", s) for s in made]
    assert set(parents) <= {f"slab of Si diamond, face {face}" for face in ("0 0 1", "0 1 1", "1 1 1")}
    alike = [s.numbers.tolist() for s, own in zip(made, parents, strict=True) if own == parents[0]]
    assert len({tuple(sorted(numbers)) for numbers in alike}) > 1


def test_what_two_requests_draw_of_one_benchmark_row_is_one_parent(tmp_path: Path) -> None:
    write_matbench(tmp_path / "matbench_jdft2d.json.gz", rock_salts(8), "exfoliation_en")
    generator = BenchmarkGenerator(BenchmarkSettings(folder=tmp_path))
    generator.load()
    parents: dict[int, set[str]] = {}
    sizes: dict[int, set[int]] = {}
    for seed, size in ((1, 8), (2, 60)):
        options = {"subsets": ["matbench_jdft2d"]}
        request = GenerateRequest(n=8, seed=seed, system="crystal", min_atoms=size, max_atoms=200, perturb=MOVED, options=options)
        made = generator.generate(resolve_task(request, generator), threading.Event(), lambda made, n: None)
        for s in made.structures:
            parents.setdefault(s.origin["row"], set()).add(parent("benchmarks", s))
            sizes.setdefault(s.origin["row"], set()).add(len(s))
    assert max(map(len, sizes.values())) == 2
    assert max(map(len, parents.values())) == 1
    assert len(set.union(*parents.values())) > 1


def test_an_origin_that_says_nothing_leaves_the_composition() -> None:
    assert parent("unheard-of", water()) == "finite H2 O1"
    assert parent("ase", copper_slab()) == parent("benchmarks", copper_slab()) == "periodic Cu1"
    assert find_parent("pymatgen", "crystal", numbers_of(["Si", "O", "O"] * 4), {}) == "periodic O2 Si1"
    assert find_parent("ase", "cluster", numbers_of(["O", "O"]), {}) != find_parent("ase", "cluster", numbers_of(["O"] * 4), {})


@pytest.mark.parametrize(
    ("service", "system", "origin", "own"),
    [
        ("pymatgen", "crystal", {"space_group": 136}, "periodic O2 Si1, space group 136"),
        ("ase", "surface", {"bulk": "SiO2", "prototype": "quartz", "miller": [0, -1, 1]}, "slab of SiO2 quartz, face 0 1 1"),
        (
            "ase",
            "surface",
            {"bulk": "SiO2", "prototype": "quartz", "miller": [1, 0, 0], "adsorbate": "CO"},
            "slab of SiO2 quartz, face 0 0 1",
        ),
        ("ase", "surface", {"bulk": "SiO2", "miller": [0, 0, 1]}, "periodic O2 Si1"),
        ("structures", "crystal", {"parent": "a.cif/0"}, "parent a.cif/0"),
        ("structures", "molecule", {"parent": "a.cif/0", "kept_parent": "finite H2 O1"}, "finite H2 O1"),
        ("structures", "cluster", {}, "finite O8 Si4"),
    ],
)
def test_what_a_service_says_of_an_origin_tells_parents_apart(service: str, system: System, origin: dict[str, Any], own: str) -> None:
    assert find_parent(service, system, numbers_of(["Si", "O", "O"] * 4), origin) == own


def test_parents_that_a_merge_joined_are_one(tmp_path: Path) -> None:
    path = tmp_path / "dataset.h5"
    write_dataset(path, [water("t/0"), methane("t/1")])
    with h5py.File(path, "a") as file:
        file.require_group("metadata").attrs[JOINED] = json.dumps({"finite H4 C1": "finite H2 O1"})
    assert read_parents(path) == ["finite H2 O1"] * 2


originals = st.sampled_from([water(), methane(), silicon(), copper_slab()])


@settings(max_examples=25)
@given(st.lists(st.tuples(originals, st.integers(0, 5)), min_size=1, max_size=12), st.integers(0, 2**63 - 1), st.integers(0, 10))
def test_no_parent_is_on_two_sides_and_additions_move_none(drawn: list[tuple[Structure, int]], seed: int, tenths: int) -> None:
    structures = [perturb_structure(s, MOVED, np.random.default_rng(i)).renamed(f"t/{k:04d}") for k, (s, i) in enumerate(drawn)]
    fractions = (tenths / 10, (10 - tenths) / 20, (10 - tenths) / 20)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dataset.h5"
        write_dataset(path, structures)
        split, parents = split_dataset(path, seed=seed, fractions=fractions), read_parents(path)
        write_dataset(path, structures[: len(structures) // 2 + 1])
        before = split_dataset(path, seed=seed, fractions=fractions)
    assert sorted(np.concatenate([split.indices[side] for side in SIDES])) == list(range(len(structures)))
    sides = [{parents[i] for i in split.indices[side]} for side in SIDES]
    assert sum(map(len, sides)) == len(set(parents)) == sum(split.n_parents.values())
    for side in SIDES:
        assert before.indices[side].tolist() == [i for i in split.indices[side] if i <= len(structures) // 2]


def test_the_fractions_are_met_on_average() -> None:
    sides = [choose_side(f"parent {i}", seed=5, fractions=(0.7, 0.2, 0.1)) for i in range(20_000)]
    assert [sides.count(side) / 20_000 for side in SIDES] == pytest.approx([0.7, 0.2, 0.1], abs=0.01)


def test_another_seed_makes_other_sides() -> None:
    first, second = ([choose_side(f"parent {i}", seed=seed) for i in range(100)] for seed in (0, 1))
    assert first != second


def test_what_was_achieved_is_said(tmp_path: Path) -> None:
    path = tmp_path / "dataset.h5"
    write_dataset(path, [water("t/0"), water("t/1"), methane("t/2")])
    assert split_dataset(path, fractions=(1.0, 0.0, 0.0)).describe() == (
        "train 1.000 (3 structures of 2 parents), val 0.000 (0 structures of 0 parents), test 0.000 (0 structures of 0 parents)"
    )


def test_of_one_structure_all_is_on_one_side(tmp_path: Path) -> None:
    path = tmp_path / "dataset.h5"
    write_dataset(path, [water("t/0")])
    assert "1.000 (1 structures of 1 parents)" in split_dataset(path).describe()


@pytest.mark.parametrize("fractions", [(0.8, 0.1, 0.2), (1.2, -0.1, -0.1), (float("nan"), 0.1, 0.1)])
def test_fractions_that_are_none_are_refused(fractions: tuple[float, float, float]) -> None:
    with pytest.raises(InvalidRequest, match="add up to 1"):
        choose_side("parent", fractions=fractions)


def test_fractions_are_read_from_a_text() -> None:
    assert parse_fractions("0.7, 0.2,0.1") == (0.7, 0.2, 0.1)


@pytest.mark.parametrize("text", ["0.8,0.2", "a,b,c", ""])
def test_fractions_are_three_numbers(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"three numbers like 0\.8,0\.1,0\.1"):
        parse_fractions(text)


def test_a_seed_has_63_bits() -> None:
    with pytest.raises(InvalidRequest, match="got -1"):
        choose_side("parent", seed=-1)


def test_sides_are_those_of_files_split_before() -> None:
    """Another hash would move structures that a model was trained on into its test set."""
    sides = [choose_side(f"finite H{k}") for k in range(40)]
    assert "".join(side[1] for side in sides) == "aarrrrerrrrrrrrerrarrrerrrerrrerrrrrerrr"
    assert sides == [choose_side(f"finite H{k}", seed=0, fractions=(0.8, 0.1, 0.1)) for k in range(40)]


@pytest.mark.parametrize("block", [1, 2, 4, 5])
def test_parents_are_the_same_however_many_structures_are_read_at_once(tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    path, structures = tmp_path / "dataset.h5", [water("t/0"), silicon("t/1"), methane("t/2"), water("t/3"), copper_slab("t/4")]
    write_dataset(path, structures)
    monkeypatch.setattr("distillery.dataset.splits._BLOCK", block)
    assert read_parents(path) == [parent("fake", structure) for structure in structures]


def test_an_empty_dataset_has_empty_sides(tmp_path: Path) -> None:
    path = tmp_path / "dataset.h5"
    write_dataset(path, [])
    assert split_dataset(path).describe().startswith("train 0.000 (0 structures of 0 parents), val 0.000")


def test_the_default_split_is_that_of_seed_0(tmp_path: Path) -> None:
    path = tmp_path / "dataset.h5"
    rows = [Structure(f"t/{k}", numbers_of(["H"] * (k + 1)), np.arange(3.0 * k + 3).reshape(-1, 3), system="cluster") for k in range(30)]
    write_dataset(path, rows)
    default, explicit = split_dataset(path), split_dataset(path, seed=0, fractions=(0.8, 0.1, 0.1))
    assert {side: own.tolist() for side, own in default.indices.items()} == {side: own.tolist() for side, own in explicit.indices.items()}


def test_the_largest_seed_is_taken_and_one_more_is_not() -> None:
    assert choose_side("parent", seed=2**63 - 1) in SIDES
    with pytest.raises(InvalidRequest, match=f"got {2**63}"):
        choose_side("parent", seed=2**63)
