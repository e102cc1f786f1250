"""The n most different structures of a dataset: farthest-point selection among atomic environments.

An environment is described by distances to and among its neighbours (`distillery.structures.environments`) and by its own element. The
structure taken next is the one with the environment that is farthest from all environments of those taken before (Gonzalez, Theoretical
Computer Science 38, 293 (1985), with a structure's environments taken at once).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from distillery.dataset.blocks import read_blocks
from distillery.dataset.layout import open_dataset
from distillery.dataset.output_file import require_target
from distillery.dataset.splits import JOINED
from distillery.derive.inputs import Input, open_input, read_json
from distillery.derive.writer import Asked, Taken, write_derived
from distillery.errors import InvalidRequest
from distillery.structures.environments import BANDWIDTH, describe_environments
from distillery.structures.structure import Structure

By = Literal["diversity", "random"]
BY: tuple[By, ...] = get_args(By)
Floats = NDArray[np.float32]
Tell = Callable[[str], None]
ELEMENT_WEIGHT = 0.3
"""1/Å; two environments of other elements are at least this times the square root of two apart. Unlike ones of one are 0.3 to 0.6 apart."""
MOST_OF_ONE = 16
"""Environments that a structure is known by: the most different ones of it."""
ALIKE = BANDWIDTH / 2
"""1/Å; environments of one structure nearer than this are known by one of them."""
_ROWS = 1 << 16
"""Environments measured at once."""


@dataclass(frozen=True)
class Chosen:
    """What was written.

    n_structures  in the new dataset
    n_given       in the old one
    farthest      how far any environment of the old one is from its nearest one in the new one at most, 1/Å; None at random
    """

    n_structures: int
    n_given: int
    farthest: float | None


def select_structures(
    path: Path, target: Path, n: int, *, by: str = "diversity", seed: int = 0, overwrite: bool = False, tell: Tell = lambda text: None
) -> Chosen:
    """Write n structures; ids, shards and parents stay what they are.

    by    diversity, or random for comparison
    seed  of what is random

    Memory: at most 5 kB a structure for diversity, that of a block otherwise. InvalidRequest if there are fewer structures than n.
    """
    if by not in BY:
        raise InvalidRequest(f"--by is one of {', '.join(BY)}; got {by!r}")
    out = require_target(target, inputs=[path], overwrite=overwrite)
    given = open_input(path)
    n_given = len(given.n_atoms)
    if not 1 <= n <= n_given:
        raise InvalidRequest(f"--n must lie between 1 and the {n_given} structures of {path}, got {n}")
    farthest, arguments = None, ["--n", str(n), "--by", by]
    if by == "random":
        rows = _draw(n_given, n, seed)
        arguments += ["--seed", str(seed)]
    else:
        rows, farthest = pick_farthest(*_describe(given, tell), n, tell)
    joined = {str(parent): str(root) for parent, root in read_json(given.attributes, JOINED).items()}
    left_out = {"not selected": n_given - n} if n < n_given else {}
    asked = Asked("select", tuple(arguments), joined, left_out, ("vesin",) if by == "diversity" else ())
    return Chosen(write_derived(out, [Taken(given, np.sort(rows))], asked), n_given, farthest)


def _draw(n_given: int, n: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(n_given)[:n].astype(np.int64)


def pick_farthest(
    environments: Floats, splits: NDArray[np.int64], n: int, tell: Tell = lambda text: None
) -> tuple[NDArray[np.int64], float]:
    """n structures, each with the environment farthest from those of all before it; the first has the one farthest from the mean.

    And how far any environment is from its nearest one of theirs at most. Of equals the first is taken.

    environments  of all structures, (N, k); structure i has the rows splits[i]:splits[i+1], (m + 1,)
    """
    squares = np.einsum("ij,ij->i", environments, environments)
    nearest = _measure(environments, squares, environments.mean(axis=0, keepdims=True))
    rows, is_taken = list[int](), np.zeros(len(splits) - 1, bool)
    while len(rows) < n:
        farthest = np.where(is_taken, -1.0, np.maximum.reduceat(nearest, splits[:-1]))
        rows.append(k := int(farthest.argmax()))
        is_taken[k] = True
        own = _measure(environments, squares, environments[splits[k] : splits[k + 1]])
        nearest = own if len(rows) == 1 else np.minimum(nearest, own)
        if len(rows) % 100 == 0:
            tell(f"selected {len(rows)} of {n}")
    return np.array(rows, np.int64), float(np.sqrt(nearest.max()))


def _measure(environments: Floats, squares: Floats, some: Floats) -> Floats:
    """The squared distance of each environment to the nearest of `some`, (N,)."""
    found = np.empty(len(environments), np.float32)
    own = np.einsum("ij,ij->i", some, some)
    for start in range(0, len(environments), _ROWS):
        rows = slice(start, start + _ROWS)
        found[rows] = (squares[rows, None] + own - 2 * (environments[rows] @ some.T)).min(axis=1)
    return np.maximum(found, 0.0)


def _describe(given: Input, tell: Tell) -> tuple[Floats, NDArray[np.int64]]:
    """The environments that structures are known by, and where those of each begin and end."""
    with open_dataset(given.path) as file:
        elements = np.unique(file["structures/atomic_numbers"][:])
    kept, done = list[Floats](), 0
    for block in read_blocks(given.path):
        kept += describe_structures(block.make_structures(), elements)
        done += len(block)
        tell(f"described {done} of {len(given.n_atoms)}")
    return np.concatenate(kept), np.concatenate([[0], np.cumsum([len(own) for own in kept])]).astype(np.int64)


def describe_structures(structures: Sequence[Structure], elements: NDArray[np.int64]) -> list[Floats]:
    """The environments that each is known by, (at most MOST_OF_ONE, 63 + number of elements); other elements than these are all alike."""
    found = []
    for structure in structures:
        marks = ELEMENT_WEIGHT * (structure.numbers[:, None] == elements)
        found.append(thin_out(np.concatenate([describe_environments(structure), marks], axis=1).astype(np.float32)))
    return found


def measure_nearest(some: Floats, known: Floats) -> Floats:
    """The distance of each of some environments to the nearest known one, 1/Å, (n,)."""
    nearest = np.full(len(some), np.inf, np.float32)
    squares = np.einsum("ij,ij->i", some, some)
    for start in range(0, len(known), _ROWS):
        own = known[start : start + _ROWS]
        nearest = np.minimum(nearest, (squares[:, None] + np.einsum("ij,ij->i", own, own) - 2 * (some @ own.T)).min(axis=1))
    return np.sqrt(np.maximum(nearest, 0.0))


def thin_out(points: Floats) -> Floats:
    """The first and those of the others that are most different, not more than MOST_OF_ONE, none ALIKE."""
    rows, nearest = [0], np.linalg.norm(points - points[0], axis=1)
    while len(rows) < MOST_OF_ONE and nearest.max() > ALIKE:
        rows.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(points - points[rows[-1]], axis=1))
    return points[rows]
