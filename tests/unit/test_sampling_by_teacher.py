"""What a labeller makes of proposals before it labels them: relaxed, displaced, moved."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.optimize import FIRE
from pydantic import ValidationError

from distillery.dataset.layout import Label
from distillery.schema.label import Reject
from distillery.schema.sample import MolecularDynamics, Rattle, Relax, Sample
from distillery.structures.structure import Structure, from_ase, to_ase
from labeller.dynamics import Fire, Langevin, relax_cell
from labeller.pool import Labelled
from labeller.sampling import Sampler
from labeller.thermal import displace_by_temperature
from tests.fake_teacher import pair_label


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
    fire, now = Fire(len(structure)), structure
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
    assert all(isinstance(outcome, Label) for outcome in sampled.outcomes)
    assert sampled.n_calls == 2 * (1 + 20 + 1)


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
    label = pair_label(squeezed)
    assert label.stress is not None
    assert relax_cell(squeezed, label).volume > squeezed.volume
    assert relax_cell(squeezed, replace(label, stress=-label.stress)).volume < squeezed.volume


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
    ],
)
def test_what_gives_no_frames_is_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Sample.model_validate(given)
