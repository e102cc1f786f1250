"""What a labeller makes of proposals before it labels them: relaxed, displaced, moved."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter, UnitCellFilter
from ase.optimize import FIRE
from pydantic import ValidationError

from distillery.dataset.layout import Label
from distillery.schema.label import Reject
from distillery.schema.sample import MolecularDynamics, Rattle, Relax, Sample
from distillery.structures.structure import Structure, from_ase, to_ase
from labeller.dynamics import Fire, Langevin, Relaxation
from labeller.sampling import Sampler
from labeller.structure_queue import Labelled
from labeller.thermal import displace_by_temperature
from tests.fake_teacher import pair_label
from tests.structures import copper_slab


def some_molecules(n: int = 3) -> list[Structure]:
    rng = np.random.default_rng(0)
    made = []
    for k in range(n):
        atoms = molecule("CH3CH2OH")
        atoms.positions += rng.normal(scale=0.1, size=atoms.positions.shape)
        made.append(from_ase(atoms, id=f"full-a-00000/{k:04d}", system="molecule", origin={"smiles": "CCO"}))
    return made


def springs(structure: Structure) -> Label:
    """Harmonic springs of 20 eV/Å² between all atoms, at rest where ethanol's are."""
    rest = molecule("CH3CH2OH").positions
    vectors = structure.positions[:, None] - structure.positions[None]
    distances = np.linalg.norm(vectors, axis=-1) + np.eye(len(rest))
    lengths = np.linalg.norm(rest[:, None] - rest[None], axis=-1) + np.eye(len(rest))
    pull = -20.0 * (distances - lengths)
    return Label(
        5.0 * float(((distances - lengths) ** 2).sum()), ((pull / distances)[..., None] * vectors).sum(axis=1).astype(np.float32), None
    )


def by_springs(structures: Sequence[Structure]) -> Labelled:
    return Labelled([springs(structure) for structure in structures], 0.0)


class Springs(Calculator):
    implemented_properties = ["energy", "forces"]  # noqa: RUF012  # ASE's own way

    def calculate(self, atoms: Atoms | None = None, properties: Sequence[str] = (), system_changes: Sequence[str] = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        assert atoms is not None
        label = springs(from_ase(atoms, id="x", system="molecule"))
        self.results = {"energy": label.energy, "forces": label.forces.astype(np.float64)}


def test_relaxing_is_ases_fire() -> None:
    (structure,) = some_molecules(1)
    atoms = to_ase(structure)
    atoms.calc = Springs()
    FIRE(atoms, logfile=None).run(fmax=0.0, steps=30)
    fire, now = Fire(), structure
    for _ in range(30):
        now = replace(now, positions=now.positions + fire.advance(springs(now).forces.astype(np.float64)))
    assert np.allclose(now.positions, atoms.positions, atol=1e-6)


def test_a_few_steps_take_most_of_the_force_away() -> None:
    before = some_molecules()
    sampled = Sampler(by_springs, Sample(relax=Relax(steps=5)), seed=1).make_frames(before)
    largest = [[float(np.abs(springs(s).forces).max()) for s in group] for group in (before, sampled.structures)]
    assert all(after < 0.5 * now for now, after in zip(*largest, strict=True))
    assert [s.id for s in sampled.structures] == [s.id for s in before]
    assert sampled.n_calls == 6 * len(before)
    assert sampled.structures[0].origin["sample"]["parent"] == before[0].id
    assert sampled.structures[0].origin["smiles"] == "CCO"


def test_what_has_converged_is_not_labelled_again() -> None:
    sampled = Sampler(by_springs, Sample(relax=Relax(steps=200, until=1.0)), seed=1).make_frames(some_molecules())
    assert sampled.n_calls < 3 * 100
    assert all(np.abs(springs(s).forces).max() < 1.0 for s in sampled.structures)


def test_the_same_seed_gives_the_same_frames_whoever_else_is_there() -> None:
    sample = Sample(relax=Relax(steps=2), rattle=Rattle(temperature=(300, 300)))
    together = Sampler(by_springs, sample, seed=4).make_frames(some_molecules(3)).structures
    alone = Sampler(by_springs, sample, seed=4).make_frames(some_molecules(3)[2:]).structures
    other = Sampler(by_springs, sample, seed=5).make_frames(some_molecules(3)[2:]).structures
    assert np.array_equal(together[2].positions, alone[0].positions)
    assert not np.allclose(other[0].positions, alone[0].positions)


def test_frames_of_dynamics_have_their_parent_step_and_temperature() -> None:
    sample = Sample(relax=Relax(steps=1), md=MolecularDynamics(temperature=(200, 400), steps=20, every=10, timestep=0.5), keep=3)
    sampled = Sampler(by_springs, sample, seed=1).make_frames(some_molecules(2))
    assert [s.id for s in sampled.structures] == [f"full-a-00000/{k:04d}/{f}" for k in range(2) for f in range(3)]
    told = sampled.structures[4].origin["sample"]
    assert (told["parent"], told["frame"], told["of"]) == ("full-a-00000/0001", 1, 3)
    assert 200 <= told["temperature"] <= 400
    assert [s.origin["sample"].get("md") for s in sampled.structures[:3]] == [None, 10, 20]
    assert all(isinstance(outcome, Label) for outcome in sampled.outcomes)
    assert sampled.n_calls == 2 * (1 + 20 + 1)


def test_frames_of_the_way_down_cost_no_call_more() -> None:
    before = some_molecules(2)
    sample = Sample(relax=Relax(steps=3, every=2), rattle=Rattle(width=(0.05, 0.05)), keep=3)
    sampled = Sampler(by_springs, sample, seed=1).make_frames(before)
    assert sampled.n_calls == 2 * sample.n_calls == 2 * 4
    assert np.array_equal(sampled.structures[0].positions, before[0].positions)
    told = [(s.origin["sample"]["relax_steps"], "rattle" in s.origin["sample"]) for s in sampled.structures[:3]]
    assert told == [(0, False), (2, False), (3, True)]
    assert all(
        np.array_equal(outcome.forces, springs(s).forces)
        for s, outcome in zip(sampled.structures, sampled.outcomes, strict=True)
        if isinstance(outcome, Label)
    )
    last = Sampler(by_springs, Sample(relax=Relax(steps=3), rattle=Rattle(width=(0.05, 0.05))), seed=1).make_frames(before)
    assert np.array_equal(last.structures[0].positions, sampled.structures[2].positions)


@pytest.mark.parametrize(
    "sample",
    [
        Sample(relax=Relax(steps=3, until=100.0, every=1), keep=3),  # converged as it came
        Sample(relax=Relax(steps=3), strain=0.04, keep=2),  # strained, if it were a crystal
        Sample(relax=Relax(steps=3, until=100.0, after=True), rattle=Rattle(width=(0.05, 0.05)), keep=2),  # displaced, and converged so
    ],
)
def test_the_same_structure_is_not_a_frame_twice(sample: Sample) -> None:
    sampled = Sampler(by_springs, sample, seed=1).make_frames(some_molecules(2))
    assert [s.id for s in sampled.structures] == [f"full-a-00000/{k:04d}/0" for k in range(2)]
    assert {s.origin["sample"]["of"] for s in sampled.structures} == {1}


def test_dynamics_keep_their_temperature() -> None:
    (structure,) = some_molecules(1)
    now = structure
    mover, seen = Langevin(to_ase(structure).get_masses(), 400.0, 0.5, np.random.default_rng(0)), []
    for step in range(4000):
        now = replace(now, positions=mover.drift(now.positions))
        mover.kick(springs(now).forces.astype(np.float64))
        if step > 500:
            seen.append(mover.temperature)
    assert np.mean(seen) == pytest.approx(400, rel=0.08)


def test_a_trajectory_that_explodes_is_refused_and_harms_no_other() -> None:
    def label(structures: Sequence[Structure]) -> Labelled:
        return Labelled(
            [replace(springs(s), forces=springs(s).forces * (1e5 if "/0001" in s.id else 1)) for s in structures],
            0.0,
        )

    sample = Sample(md=MolecularDynamics(steps=10, every=10))
    sampled = Sampler(label, sample, seed=1).make_frames(some_molecules(3))
    found = {s.id: o for s, o in zip(sampled.structures, sampled.outcomes, strict=True)}
    refused = found["full-a-00000/0001"]
    assert isinstance(refused, Reject)
    assert refused.reason in {"exploded", "not_finite", "too_large"}
    calm = Sampler(by_springs, sample, seed=1).make_frames(some_molecules(3)).structures
    assert np.array_equal(next(s for s in sampled.structures if s.id == "full-a-00000/0002").positions, calm[2].positions)


def test_a_cell_follows_its_stress() -> None:
    squeezed = from_ase(bulk("Si", a=5.0, cubic=True), id="a/0", system="crystal")
    (frame,) = Sampler(by_pairs, Sample(relax=Relax(steps=3, cell=True)), seed=1).make_frames([squeezed]).structures
    assert frame.volume > squeezed.volume
    assert frame.origin["sample"]["relax_steps"] == 3


def by_pairs(structures: Sequence[Structure]) -> Labelled:
    return Labelled([pair_label(structure) for structure in structures], 0.0)


def distorted(atoms: Atoms) -> Atoms:
    rng = np.random.default_rng(0)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(scale=0.03, size=(3, 3))), scale_atoms=True)
    atoms.positions += rng.normal(scale=0.08, size=atoms.positions.shape)
    return atoms


def by_emt(structure: Structure) -> Label:
    atoms = to_ase(structure)
    atoms.calc = EMT()
    return Label(atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress())


METALS = {"Al": bulk("Al"), "CuAu": bulk("CuAu", "cesiumchloride", a=3.1)}


@pytest.mark.parametrize("name", METALS)
def test_relaxing_a_cell_is_ases_fire_with_its_cell_filter(name: str) -> None:
    """Forces, virial and the path of both, 15 steps far; the effective medium theory of ASE stands for a teacher."""
    atoms = distorted(METALS[name])
    descent = Relaxation(from_ase(atoms, id="a/0", system="crystal"), with_cell=True)
    atoms.calc = EMT()
    whole = UnitCellFilter(atoms)
    fire = FIRE(whole, logfile=None)
    for _ in range(15):
        forces = descent.find_forces(by_emt(descent.structure))
        assert np.allclose(forces, whole.get_forces(), atol=1e-7)
        descent.advance(forces)
        fire.step()
    assert np.allclose(descent.structure.cell, atoms.cell.array, atol=1e-8)
    assert np.allclose(descent.structure.positions, atoms.positions, atol=1e-8)


def test_a_relaxed_cell_is_that_of_ases_frechet_filter() -> None:
    atoms = distorted(METALS["CuAu"])
    descent = Relaxation(from_ase(atoms, id="a/0", system="crystal"), with_cell=True)
    for _ in range(100):
        forces = descent.find_forces(by_emt(descent.structure))
        if np.linalg.norm(forces, axis=1).max() < 0.02:
            break
        descent.advance(forces)
    atoms.calc = EMT()
    assert FIRE(FrechetCellFilter(atoms), logfile=None).run(fmax=0.02, steps=100)
    assert descent.structure.volume == pytest.approx(atoms.get_volume(), rel=5e-3)
    assert by_emt(descent.structure).energy == pytest.approx(atoms.get_potential_energy(), abs=2e-3 * len(atoms))


def test_a_slabs_cell_is_relaxed_in_its_plane() -> None:
    slab = copper_slab()
    descent = Relaxation(replace(slab, positions=0.97 * slab.positions, cell=slab.cell * [[0.97], [0.97], [1.0]]), with_cell=True)
    before = descent.structure
    for _ in range(5):
        descent.advance(descent.find_forces(by_emt(descent.structure)))
    assert np.array_equal(descent.structure.cell[2], before.cell[2])
    assert descent.structure.volume > before.volume


def test_a_cell_without_a_stress_stays() -> None:
    crystal = from_ase(bulk("Si", a=5.0, cubic=True), id="a/0", system="crystal")
    descent = Relaxation(crystal, with_cell=True)
    descent.advance(descent.find_forces(replace(pair_label(crystal), stress=None)))
    assert np.array_equal(descent.structure.cell, crystal.cell)


def test_rattled_first_and_relaxed_then_gives_calmer_frames_and_both_where_two_are_kept() -> None:
    rattle = Rattle(width=(0.1, 0.1))
    before = some_molecules(3)
    usual = Sampler(by_springs, Sample(relax=Relax(steps=5), rattle=rattle), seed=1).make_frames(before)
    other = Sampler(by_springs, Sample(relax=Relax(steps=5, after=True), rattle=rattle, keep=2), seed=1).make_frames(before)
    assert [s.id for s in other.structures] == [f"full-a-00000/{k:04d}/{f}" for k in range(3) for f in range(2)]
    assert other.n_calls == usual.n_calls + len(before)
    assert other.structures[1].origin["sample"]["relax_steps"] == 5

    def force(structure: Structure) -> float:
        return float(np.abs(springs(structure).forces).max())

    for rattled, relaxed, shaken in zip(other.structures[::2], other.structures[1::2], usual.structures, strict=True):
        assert force(relaxed) < 0.5 * min(force(rattled), force(shaken))


def test_heat_moves_torsions_more_than_bonds() -> None:
    structure = from_ase(molecule("CH3CH2OH"), id="a/0", system="molecule")
    rng = np.random.default_rng(0)
    moved = np.array([structure.positions + displace_by_temperature(structure, 300.0, rng) for _ in range(400)])
    bond = np.linalg.norm(moved[:, 0] - moved[:, 1], axis=1).std()
    far = np.linalg.norm(moved[:, 2] - moved[:, 8], axis=1).std()
    assert 0.02 < bond < 0.06  # sqrt(kT/k) of a C-C bond at 300 K: 0.03 Å
    assert far > 2 * bond
    hot = np.array([displace_by_temperature(structure, 1200.0, rng) for _ in range(400)])
    cold = np.array([displace_by_temperature(structure, 300.0, rng) for _ in range(400)])
    assert hot.std() == pytest.approx(2 * cold.std(), rel=0.1)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"rattle": {}}, "give either temperature"),
        ({"rattle": {"temperature": [300, 100]}}, "smallest, largest"),
        ({"md": {"steps": 5, "every": 20}}, "must not exceed steps"),
        ({"relax": {"steps": 5}, "keep": 2}, "a proposal gives 1 frames"),
        ({"md": {"steps": 40, "every": 20}, "keep": 3}, "a proposal gives 2 frames"),
        ({"relax": {"steps": 3, "every": 2}, "keep": 4}, "a proposal gives 3 frames"),
    ],
)
def test_what_gives_no_frames_is_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Sample.model_validate(given)


@pytest.mark.parametrize(
    ("sample", "told"),
    [
        (Sample(), "as it came; 1 structure of each proposal"),
        (
            Sample(relax=Relax(steps=2, every=1), rattle=Rattle(temperature=(150, 450)), keep=3),
            "2 steps of relaxation, displaced as by heat of 150-450 K; 3 structures of each proposal",
        ),
        (
            Sample(relax=Relax(after=True, cell=True), strain=0.04, rattle=Rattle(width=(0.05, 0.05))),
            "strained by up to 0.04, displaced by 0.05 Å, 5 steps of relaxation, cell too; 1 structure of each proposal",
        ),
        (
            Sample(md=MolecularDynamics(steps=40, timestep=0.5), keep=2),
            "20 fs of dynamics at 300 K; 2 structures of each proposal",
        ),
    ],
)
def test_sampling_is_told_in_words_in_its_order(sample: Sample, told: str) -> None:
    assert sample.describe() == told
