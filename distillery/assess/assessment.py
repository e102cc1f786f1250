"""An assessment: students of growing shares of a dataset, their errors, their dynamics, and what that says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distillery.assess.dynamics import watch_dynamics
from distillery.assess.errors import group_errors
from distillery.assess.graphs import Graph, read_graphs
from distillery.assess.probe import describe_teacher, require_same_teacher
from distillery.assess.shares import SHARES, choose_shares
from distillery.assess.student import Student, count_batches, describe_student, train_student
from distillery.assess.verdict import find_needs, say_verdict
from distillery.dataset.layout import open_dataset
from distillery.dataset.sealed_file import require_unbroken
from distillery.dataset.splits import split_dataset
from distillery.errors import InvalidRequest
from distillery.schema.assess import Assessment, CurvePoint, Dynamics
from distillery.structures.structure import PERIODIC_SYSTEMS

Tell = Callable[[str], None]
FEWEST_STEPS, MOST_STEPS = 400, 12_000
PASSES = 6
"""Of training through the largest share, where no steps are given: as many steps as that takes, within those bounds."""
FEMTOSECONDS = 200
_TRAJECTORIES = 3
"""Of each family."""


@dataclass(frozen=True)
class Budget:
    """How much is spent.

    steps         of training, the same for every share; None: as many as `PASSES` through the largest one take
    femtoseconds  of each trajectory; none with 0
    shares        of the training side
    """

    steps: int | None = None
    femtoseconds: int = FEMTOSECONDS
    shares: tuple[float, ...] = SHARES


@dataclass(frozen=True, eq=False)
class Material:
    """What students learn from and are asked about.

    train  the training side
    held   validation and test side
    probe  the probe set; the source of a structure is its family
    """

    train: list[Graph]
    held: list[Graph]
    probe: list[Graph]


def assess_dataset(dataset: Path, probe: Path, *, budget: Budget = Budget(), seed: int = 0, tell: Tell = lambda what: None) -> Assessment:
    """Train students on growing shares of a dataset's training side and ask them about the rest and about a probe set.

    The same files, budget and seed give the same figures on one machine, times aside.

    InvalidRequest: a file is no dataset, or damaged, or a side is empty. Unsupported: two teachers. Unavailable: no nequip.
    """
    student = describe_student()
    require_unbroken(dataset, "no student learns from it")
    require_same_teacher(dataset, probe)
    material = read_material(dataset, probe)
    shares = choose_shares([f.structure.id for f in material.train], [f.source for f in material.train], budget.shares, seed=seed)
    known, n_left_out = leave_out_strangers(material, shares[0])
    steps = budget.steps or choose_steps([known.train[place] for place in shares[-1]])
    curve: list[CurvePoint] = []
    for share, places in zip(budget.shares, shares, strict=True):
        own = [known.train[place] for place in places]
        tell(f"student of {len(own)} structures, {steps} steps")
        trained = train_student(own, seed=seed, steps=steps)
        curve.append(describe_point(share, own, trained, known, passes=steps / count_batches(own)))
    needs = find_needs(curve)
    with open_dataset(dataset) as file:
        teacher, digest = describe_teacher(file), str(file["metadata"].attrs["structures_sha256"])
    return Assessment(
        dataset=dataset.parent.name if dataset.parent.name else dataset.name,
        structures_sha256=digest,
        teacher=f"{teacher['teacher_model']} ({teacher['teacher_version']})",
        student=student,
        seed=seed,
        steps=steps,
        n_left_out=n_left_out,
        curve=curve,
        dynamics=_watch_families(trained, known.probe, budget.femtoseconds, seed, tell),
        needs=needs,
        verdict=say_verdict(curve, needs, steps),
    )


def choose_steps(graphs: Sequence[Graph]) -> int:
    """Steps of training that show every structure `PASSES` times, within bounds."""
    return min(max(PASSES * count_batches(graphs), FEWEST_STEPS), MOST_STEPS)


def read_material(dataset: Path, probe: Path) -> Material:
    """All structures, the sides as `split_dataset` cuts them; InvalidRequest if one of the sides has none."""
    split = split_dataset(dataset)
    held = np.sort(np.concatenate([split.indices["val"], split.indices["test"]]))
    material = Material(read_graphs(dataset, split.indices["train"]), read_graphs(dataset, held), read_graphs(probe))
    for what, graphs in (
        ("training side", material.train),
        ("validation and test sides", material.held),
        ("probe set's side", material.probe),
    ):
        if not graphs:
            raise InvalidRequest(f"{dataset} can't be assessed: there are no structures on its {what}; make more of them")
    return material


def leave_out_strangers(material: Material, smallest: Sequence[int]) -> tuple[Material, int]:
    """The same without what the student of the smallest share can't be asked about, as it has none of an element; how many those are."""
    elements = {int(z) for place in smallest for z in material.train[place].structure.numbers}
    held, probe = ([graph for graph in own if set(graph.structure.numbers.tolist()) <= elements] for own in (material.held, material.probe))
    if not held or not probe:
        raise InvalidRequest("nothing can be asked of the student of the smallest share: it has too few elements; make more structures")
    return Material(material.train, held, probe), len(material.held) - len(held) + len(material.probe) - len(probe)


def describe_point(share: float, own: Sequence[Graph], trained: Student, material: Material, *, passes: float) -> CurvePoint:
    """The errors of one student, which saw each of its structures so often."""
    held, probe = trained.predict(material.held), trained.predict(material.probe)
    seen = {name_composition(graph) for graph in material.train}
    new = [k for k, graph in enumerate(material.probe) if name_composition(graph) not in seen]
    return CurvePoint(
        share=share,
        n_structures=len(own),
        n_atoms=sum(len(graph.structure) for graph in own),
        seconds=round(trained.seconds, 1),
        passes=round(passes, 2),
        source=group_errors(material.held, held, lambda graph: graph.source),
        system=group_errors(material.held, held, lambda graph: graph.structure.system),
        family=group_errors(material.probe, probe, lambda graph: graph.source),
        unseen=group_errors([material.probe[k] for k in new], [probe[k] for k in new], lambda graph: graph.source),
    )


def name_composition(graph: Graph) -> tuple[object, ...]:
    """What two structures of one compound have in common: whether they are periodic, and the formula, then reduced."""
    elements, counts = np.unique(graph.structure.numbers, return_counts=True)
    is_periodic = graph.structure.system in PERIODIC_SYSTEMS
    unit = int(np.gcd.reduce(counts)) if is_periodic else 1
    return (is_periodic, *zip(elements.tolist(), (counts // unit).tolist(), strict=True))


def _watch_families(student: Student, probe: Sequence[Graph], femtoseconds: int, seed: int, tell: Tell) -> dict[str, Dynamics]:
    """Dynamics from the first structures of each family, one of each parent."""
    if not femtoseconds:
        return {}
    found = {}
    for name in sorted({graph.source for graph in probe}):
        tell(f"dynamics of {name}")
        parents = {name_composition(graph): graph for graph in probe if graph.source == name}
        found[name] = watch_dynamics(student, list(parents.values())[:_TRAJECTORIES], steps=femtoseconds, seed=seed)
    return found
