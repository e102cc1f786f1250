"""`make bench-worth`: what students learn from our quickstart, and from what others would make with as many calls of the teacher.

Four ways make a set of each seed: the quickstart's recipe; the same without `sample`; its proposals as they are, rattled; and
augment-atoms (rattle, relax, repeat) on the same proposals. A call is a structure that the teacher labels, and every way has as many.
A student of each set is asked about real molecules, crystals and slabs that the teacher's dynamics moved, of compositions that no set
may have. Compositions are cut in three before anything else: for training, for tuning defaults (`--side tuning`), and for the
published figures (`--side published`), which nobody tunes on.

What is done is kept in `--folder`, so that a run that was stopped goes on.
"""

import argparse
import hashlib
import json
import pickle
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from io import StringIO
from itertools import islice, product
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from rich.console import Console
from rich.table import Table

from distillery.assess.errors import measure_errors
from distillery.assess.graphs import Graph, make_graph
from distillery.assess.probe import choose_smiles
from distillery.assess.student import train_student
from distillery.dataset.layout import Label
from distillery.generators.compounds import find_compounds
from distillery.generators.generator import resolve_task
from distillery.generators.plugins import build_generator
from distillery.generators.proposals import PoolExhausted, ProposalGenerator, propose_one
from distillery.recipe.reading import read_recipe
from distillery.recipe.recipe import Recipe
from distillery.recipe.requests import make_request
from distillery.recipe.shares import apportion
from distillery.runtime.atomic_files import write_whole
from distillery.schema.generate import GenerateRequest, Perturb
from distillery.schema.sample import Sample
from distillery.structures.strain import apply_strain, draw_strain
from distillery.structures.structure import DEFAULT_ELEMENTS, Structure, from_ase, to_ase
from labeller.sampling import Sampler
from labeller.settings import LabellerSettings
from labeller.structure_queue import Labelled
from labeller.teachers import create_teacher
from tests.command import QUICKSTART

TEACHER = "7net-0"
Side = Literal["train", "tuning", "published"]
DEAL: tuple[Side, ...] = ("published", "train", "tuning", "train")
"""The sides that compositions are dealt out to."""
FAMILIES = {"molecules": 10, "drugs": 5, "crystals": 8, "slabs": 5}
"""Structures of each family on a test side."""
MOVED = Sample.model_validate({"relax": {"steps": 3}, "md": {"temperature": [300, 600], "steps": 8, "every": 4, "timestep": 2}, "keep": 2})
LARGEST_FORCE = 50.0
"""eV/Å; labels beyond are left out, as a recipe's `limits` do."""
WAYS = ("ours", "not sampled", "rattled", "augment-atoms")
AUGMENT: dict[str, Any] = {"T": 300.0, "beta": 0.5, "sigma_range": (0.01, 0.1), "units": "eV"}
"""As in augment-atoms' README."""
CELL_SIGMA = 0.01
"""Of periodic structures; its README leaves cells alone, which would teach a student less."""
CHILDREN = 4
"""Of each proposal; its README has 10, but more different proposals teach more."""
_MOST_CALLS = 40
"""For one child; augment-atoms tries without end where none is accepted."""


class CallsSpent(Exception):
    """One child had all the calls that it may have."""


class CountingTeacher:
    """SevenNet-0 in this process; it counts the structures that it labels."""

    def __init__(self) -> None:
        self._teacher = create_teacher(LabellerSettings(teacher=TEACHER))
        self._teacher.load(threading.Event())
        self._teacher.use_threads(1)
        self.n_calls = 0

    def label(self, structures: Sequence[Structure]) -> list[Label]:
        """One label a structure."""
        self.n_calls += len(structures)
        labels: list[Label] = []
        for structure in structures:
            labels += self._teacher.predict(self._teacher.featurise([structure]))
        return labels

    def label_all(self, structures: Sequence[Structure]) -> Labelled:
        """The same, as sampling asks for it."""
        return Labelled(list(self.label(structures)), 0.0)


class TeachersCalculator(Calculator):
    """The teacher as augment-atoms asks for it."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, teacher: CountingTeacher) -> None:
        Calculator.__init__(self)
        self._teacher = teacher
        self.n_left = _MOST_CALLS

    def calculate(self, atoms: Atoms | None = None, properties: Sequence[str] = (), system_changes: Sequence[str] = all_changes) -> None:
        """Energy and forces of these atoms; CallsSpent once there were too many."""
        assert atoms is not None
        self.n_left -= 1
        if self.n_left < 0:
            raise CallsSpent
        (label,) = self._teacher.label([from_ase(atoms, id="", system="crystal")])
        self.results = {"energy": label.energy, "forces": label.forces.astype(np.float64)}


def choose_side(structure: Structure) -> Side:
    """The side of a composition, reduced; of slabs and of what else is cut from a crystal, the crystal's."""
    cut_from = structure.origin.get("bulk")
    return choose_side_of(name_composition(Atoms(str(cut_from)).numbers if cut_from else structure.numbers))


def choose_side_of(composition: str) -> Side:
    """By a keyed hash: real compounds, which are few, are dealt out in the order of theirs, all others fall where theirs falls."""
    ranks = rank_compounds()
    if composition in ranks:
        return DEAL[ranks[composition] % len(DEAL)]
    place = int.from_bytes(draw(composition), "little") / 2**64
    return DEAL[int(place * len(DEAL))]


@cache
def rank_compounds() -> dict[str, int]:
    """The compositions of real compounds, by their places in the order of their hashes."""
    names = {name_composition(compound.structure.numbers) for compound in find_compounds(DEFAULT_ELEMENTS)}
    return {name: k for k, name in enumerate(sorted(names, key=draw))}


def name_composition(numbers: Sequence[int] | np.ndarray[Any, Any]) -> str:
    """Atomic numbers and counts of the smallest formula unit."""
    elements, counts = np.unique(numbers, return_counts=True)
    return json.dumps([elements.tolist(), (counts // np.gcd.reduce(counts)).tolist()])


def draw(composition: str) -> bytes:
    """Eight bytes that depend on the composition alone."""
    return hashlib.blake2b(composition.encode(), key=b"worth", digest_size=8).digest()


def propose(request: GenerateRequest, service: str, side: Side) -> Iterator[Structure]:
    """A service's proposals of one side, one after the other, as long as there are new ones."""
    generator = build_generator(service)
    assert isinstance(generator, ProposalGenerator)
    proposer = generator.proposer
    task = resolve_task(request, proposer)
    for attempt in range(200 * request.n):
        try:
            outcome = propose_one(proposer, task, attempt)
        except PoolExhausted:
            return
        for structure in () if isinstance(outcome, str) else outcome.structures:
            if choose_side(structure) == side:
                yield structure.renamed(f"{service}-{request.system}/{attempt:05d}")


def make_test(side: Side, teacher: CountingTeacher) -> list[Graph]:
    """Real matter of a test side, moved by the teacher's dynamics; the source of a frame is its family."""
    graphs: list[Graph] = []
    for family, structures in list_real(side).items():
        sampled = Sampler(teacher.label_all, MOVED, seed=7).make_frames(structures)
        graphs += [
            make_graph(structure, family, label.energy, label.forces.astype(np.float64))
            for structure, label in zip(sampled.structures, sampled.outcomes, strict=True)
            if isinstance(label, Label)
        ]
    return graphs


def list_real(side: Side) -> dict[str, list[Structure]]:
    """Real structures of a side by family, of as many compositions as there are."""
    smiles = choose_smiles(DEFAULT_ELEMENTS)
    molecules = {"system": "molecule", "n": len(smiles), "min_atoms": 5, "options": {"smiles": smiles, "torsions": 0.0}}
    crystals = {"system": "crystal", "n": 20, "min_atoms": 4, "max_atoms": 16, "options": {"kinds": {"real": 1}}}
    slabs = {"system": "surface", "n": 20, "min_atoms": 12, "max_atoms": 28}
    slabs["options"] = {"real": 1.0, "adsorbates": 0.0, "terminated": 0.0, "max_index": 1}
    asked = {
        "molecules": ("rdkit", {**molecules, "max_atoms": 11}),
        "drugs": ("rdkit", {**molecules, "min_atoms": 12, "max_atoms": 20}),
        "crystals": ("pymatgen", crystals),
        "slabs": ("ase", slabs),
    }
    requests = {name: (service, GenerateRequest.model_validate({"seed": 11, **request})) for name, (service, request) in asked.items()}
    return {
        name: spread(list(islice(propose(request, service, side), 80)), FAMILIES[name]) for name, (service, request) in requests.items()
    }


def spread(structures: Sequence[Structure], n: int) -> list[Structure]:
    """n of the structures: of every composition one, then of every composition a second one, …"""
    seen: Counter[str] = Counter()
    laps: list[tuple[int, Structure]] = []
    for structure in structures:
        name = str(structure.origin.get("compound") or structure.origin.get("bulk") or to_ase(structure).symbols.formula.reduce()[0])
        laps.append((seen[name], structure))
        seen[name] += 1
    return [structure for _, structure in sorted(laps, key=lambda lap: lap[0])[:n]]


@dataclass(frozen=True)
class Order:
    """A set to be made: by which way, of which recipe and seed, with how many frames of the recipe's own way."""

    way: str
    recipe: Recipe
    seed: int
    n_frames: int

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.recipe.sha256[:8]}-{self.way.replace(' ', '-')}-{self.seed}-{self.n_frames}"

    def list_sources(self) -> dict[str, int]:
        """Frames that the recipe's own way makes of every source."""
        return apportion(self.n_frames, self.recipe.counts())

    def count_proposals(self, source: str, n: int) -> int:
        """Proposals that the recipe's own way makes n frames of a source of."""
        sample = self.recipe.find_sample(source)
        return -(-n // sample.keep) if sample else n

    def count_calls(self, source: str, n: int) -> int:
        """Calls of the teacher that the recipe's own way has for n frames of a source."""
        sample = self.recipe.find_sample(source)
        return self.count_proposals(source, n) * (sample.n_calls if sample else 1)

    def propose(self, source: str, *, perturbed: bool) -> Iterator[Structure]:
        """A source's proposals of the training side."""
        request = make_request(self.recipe, source, 400, 1000 * self.seed + 1)
        if not perturbed:
            request = request.model_copy(update={"perturb": Perturb()})
        return propose(request, self.recipe.sources[source].service, "train")


def make_set(order: Order, teacher: CountingTeacher) -> list[Graph]:
    """The frames of all sources."""
    graphs: list[Graph] = []
    for source, n in order.list_sources().items():
        labelled = MAKERS[order.way](order, source, n, teacher)
        sound = [(s, label) for s, label in labelled if np.linalg.norm(label.forces, axis=1).max() <= LARGEST_FORCE]
        graphs += [make_graph(s, source, label.energy, label.forces.astype(np.float64)) for s, label in sound]
    return graphs


Pairs = list[tuple[Structure, Label]]


def make_ours(order: Order, source: str, n: int, teacher: CountingTeacher) -> Pairs:
    """As the recipe says."""
    sample = order.recipe.find_sample(source)
    assert sample is not None
    proposals = list(islice(order.propose(source, perturbed=True), order.count_proposals(source, n)))
    sampled = Sampler(teacher.label_all, sample, order.seed).make_frames(proposals)
    return [(s, o) for s, o in zip(sampled.structures, sampled.outcomes, strict=True) if isinstance(o, Label)]


def make_unsampled(order: Order, source: str, n: int, teacher: CountingTeacher) -> Pairs:
    """As the recipe says, but that every proposal is labelled as it is; more of them for as many calls."""
    proposals = list(islice(order.propose(source, perturbed=True), order.count_calls(source, n)))
    return list(zip(proposals, teacher.label(proposals), strict=True))


def make_rattled(order: Order, source: str, n: int, teacher: CountingTeacher) -> Pairs:
    """Several copies of every proposal, strained and displaced by one width."""
    rng = np.random.default_rng([order.seed, n])
    n_proposals = order.count_proposals(source, n)
    n_copies = order.count_calls(source, n) // n_proposals
    copies = [rattle(s, rng) for s in islice(order.propose(source, perturbed=False), n_proposals) for _ in range(n_copies)]
    return list(zip(copies, teacher.label(copies), strict=True))


def rattle(structure: Structure, rng: np.random.Generator) -> Structure:
    """Displaced by 0.1 Å, and strained by 3 % where it is periodic."""
    moved = apply_strain(structure, draw_strain(structure, 0.03, rng)) if structure.is_periodic else structure
    return replace(moved, positions=moved.positions + rng.normal(scale=0.1, size=moved.positions.shape))


def make_augmented(order: Order, source: str, n: int, teacher: CountingTeacher) -> Pairs:
    """augment-atoms on one proposal after the other, child by child, until the calls are spent."""
    made: Pairs = []
    spent = teacher.n_calls + order.count_calls(source, n)
    for k, proposal in enumerate(order.propose(source, perturbed=False)):
        if teacher.n_calls >= spent:
            return made
        made += grow_family(proposal, TeachersCalculator(teacher), 1000 * order.seed + k, lambda: teacher.n_calls >= spent)
    return made


def grow_family(proposal: Structure, calculator: TeachersCalculator, seed: int, is_over: Callable[[], bool]) -> Pairs:
    """The family of one proposal, itself among it, as far as the calls go."""
    from augment_atoms import Config, generate_structures

    family: list[Atoms] = []
    cell_sigma = CELL_SIGMA if proposal.is_periodic else None
    for child in range(CHILDREN):
        calculator.n_left = _MOST_CALLS
        config = Config(**AUGMENT, n_per_structure=1, cell_sigma=cell_sigma, seed=seed + 100 * child)
        try:
            with redirect_stdout(StringIO()):
                family += generate_structures(to_ase(proposal), calculator, family, config)
        except CallsSpent:
            break
        if is_over():
            break
    made = [(replace(from_ase(atoms, id="", system=proposal.system), origin=proposal.origin), atoms) for atoms in family]
    return [(structure, Label(atoms.info["energy"], atoms.arrays["forces"], None)) for structure, atoms in made]


MAKERS: dict[str, Callable[[Order, str, int, CountingTeacher], Pairs]] = {
    "ours": make_ours,
    "not sampled": make_unsampled,
    "rattled": make_rattled,
    "augment-atoms": make_augmented,
}


def keep(path: Path, make: Callable[[], Any]) -> Any:
    """What lies at a path, or what `make` gives, which is put there."""
    if not path.exists():
        made = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_whole(path) as temporary:
            temporary.write_bytes(pickle.dumps(made))
    return pickle.loads(path.read_bytes())


Figures = dict[str, dict[str, float]]


def ask(graphs: Sequence[Graph], tests: Sequence[Graph], seed: int, steps: int) -> Figures:
    """Errors by family of a student of these structures; tests with elements that it has not seen are left out and counted."""
    student = train_student(graphs, seed=seed, steps=steps)
    known = [graph for graph in tests if student.knows(graph.structure.numbers)]
    pairs = list(zip(known, student.predict(known), strict=True))
    figures: Figures = {}
    for family in FAMILIES:
        errors = measure_errors([pair for pair in pairs if pair[0].source == family])
        figures[family] = {**errors.model_dump(), "n_left_out": sum(f.source == family for f in tests) - errors.n_structures}
    return figures


def tabulate(results: dict[str, list[Figures]]) -> Table:
    """Errors of every way by family, mean and deviation over the seeds, and ours over the best of the others."""
    table = Table("family", "", "F = 0", *results, "ours / best other")
    for family in FAMILIES:
        for what in ("forces", "energy"):
            columns = {way: np.array([figures[family][what] for figures in seeds]) for way, seeds in results.items()}
            cells = [f"{values.mean():.0f} ± {values.std(ddof=1) if len(values) > 1 else 0:.0f}" for values in columns.values()]
            others = [values.mean() for way, values in columns.items() if way != "ours"]
            zero = f"{next(iter(results.values()))[0][family]['zero_forces']:.0f}" if what == "forces" else ""
            table.add_row(family, what, zero, *cells, f"{columns['ours'].mean() / min(others):.2f}" if others and "ours" in columns else "")
    return table


def main() -> None:
    """Make what is missing, train, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/worth"))
    parser.add_argument("--recipe", type=Path, default=QUICKSTART)
    parser.add_argument("--frames", type=int, default=480, help="of the recipe's own way")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2400, help="of training")
    parser.add_argument("--side", choices=("tuning", "published"), default="published")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="those that are tried; ours alone compares recipes")
    given = parser.parse_args()
    if "augment-atoms" in given.ways and find_spec("augment_atoms") is None:
        parser.error("augment-atoms is not installed, which ours is compared with: pip install -c constraints.txt augment-atoms")
    recipe, teacher = read_recipe(given.recipe)[0], cache(CountingTeacher)
    tests = keep(given.folder / f"test-{given.side}.pickle", lambda: make_test(given.side, teacher()))
    results: dict[str, list[Figures]] = {way: [] for way in given.ways}
    for seed, way in product(range(given.seeds), given.ways):
        order = Order(way, recipe, seed, given.frames)
        frames = keep(given.folder / f"{order.name}.pickle", lambda order=order: make_set(order, teacher()))
        path = given.folder / f"{order.name}-{given.side}-{given.steps}.pickle"
        figures = keep(path, lambda frames=frames, seed=seed: ask(frames, tests, seed, given.steps))
        results[way].append(figures)
        told = {family: (errors["forces"], errors["energy"]) for family, errors in figures.items()}
        Console(stderr=True).print(seed, way, len(frames), "structures", told)
    Console(width=160).print(tabulate(results))
    (given.folder / f"worth-{given.side}.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
