"""The verdict on a dataset that was made of others: what its file alone can be judged by, and what only a run could tell."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Literal

import h5py

from distillery.dataset.derivation import Derivation, Piece, place_pieces, read_derivation
from distillery.dataset.layout import Arrays, open_dataset
from distillery.dataset.sections import Range, read_section
from distillery.errors import InvalidRequest
from distillery.planning.findings import find_values
from distillery.planning.gates import Verdict, find_rules, is_go, judge_finding
from distillery.planning.measures import Measures, gather_measures
from distillery.planning.part_measures import PartMeasures, measure_structures
from distillery.recipe.reading import parse_recipe
from distillery.recipe.recipe import GateName, Recipe
from distillery.recipe.source import Source
from distillery.recipe.stages import GateRule
from distillery.schema.label import LabelLimits

NOT_JUDGED: Mapping[GateName, str] = {
    "completeness": "nothing says how many structures there should be",
    "teacher_success": "what the teacher refused is in the datasets that it was made of",
    "generation_seconds": "it was not generated",
    "sound_labels": "labels beyond the limits were left out before",
    "teacher_physics": "laws of physics are tried while a teacher labels",
}
"""Gates that a file can't be judged by, and why."""
_CHOSEN: tuple[GateName, ...] = ("element_coverage", "distinct_sizes", "distinct_compositions", "environment_diversity")
"""What `filter` narrows on purpose: told, not required."""
DerivedVerdict = Literal["NO-GO", "PARTLY JUDGED"]


@dataclass(frozen=True)
class Run:
    """Structures that follow one another, of one shard and one source; `rows` and `atoms` are where they lie in the file."""

    piece: Piece
    rows: Range
    atoms: Range
    optional_columns: tuple[str, ...]

    @property
    def n_structures(self) -> int:
        """How many."""
        return self.rows[1] - self.rows[0]

    def read(self, file: h5py.File) -> Arrays:
        """Their columns, splits from 0."""
        return read_section(file, self.rows, self.atoms, self.optional_columns)


def find_runs(file: h5py.File) -> list[Run]:
    """All structures of the file, in order; ValueError if its pieces do not add up to it."""

    def name(placed: tuple[Piece, Range, Range]) -> tuple[str, str, str, str]:
        return placed[0].shard, placed[0].source, placed[0].service, placed[0].system

    return [_join(list(group)) for _, group in groupby(place_pieces(file), key=name)]


def _join(pieces: list[tuple[Piece, Range, Range]]) -> Run:
    (first, rows, atoms), (_, last_rows, last_atoms) = pieces[0], pieces[-1]
    columns = dict.fromkeys(column for piece, _, _ in pieces for column in piece.optional_columns)
    return Run(first, (rows[0], last_rows[1]), (atoms[0], last_atoms[1]), tuple(columns))


def restate(name: str, derivation: Derivation, teacher: str, runs: Iterable[Run]) -> Recipe:
    """What a dataset is judged by: the recipe that asks for just its structures, with elements, limits and gates of its inputs' recipes.

    Elements are those that any of these recipes wanted, or that occur where none is known; limits are the widest; changes to gates hold
    where all recipes agree on them. It is not validated, as names of sources that were imported need not be a recipe's.
    """
    recipes = list(_list_recipes(derivation))
    first: dict[str, Piece] = {}
    counts: Counter[str] = Counter()
    for run in runs:
        first.setdefault(run.piece.source, run.piece)
        counts[run.piece.source] += run.n_structures
    gates = recipes[0].gates if recipes and all(recipe.gates == recipes[0].gates for recipe in recipes) else {}
    if derivation.command == "filter":
        told = GateRule(required=False)
        gates = {**gates, **{gate: gates[gate].model_copy(update={"required": False}) if gate in gates else told for gate in _CHOSEN}}
    return Recipe.model_construct(
        name=name,
        seed=0,
        teacher=teacher,
        elements=tuple(dict.fromkeys(e for recipe in recipes for e in recipe.elements)) or derivation.elements,
        limits=_widen(recipe.find_limits(source) for recipe in recipes for source in recipe.sources),
        gates=gates,
        sources={
            source: Source.model_construct(service=piece.service, system=piece.system, count=counts[source])
            for source, piece in first.items()
        },
    )


def _list_recipes(derivation: Derivation) -> Iterator[Recipe]:
    """The recipes that a dataset goes back to; InvalidRequest if one can't be read."""
    for given in derivation.inputs:
        if given.recipe:
            yield parse_recipe(given.recipe, f"the recipe of {given.name}")
        if given.derivation is not None:
            yield from _list_recipes(given.derivation)


def _widen(limits: Iterable[LabelLimits]) -> LabelLimits:
    found = list(limits) or [LabelLimits()]
    return LabelLimits(**{name: max(getattr(one, name) for one in found) for name in LabelLimits.model_fields})


def measure_run(arrays: Arrays, piece: Piece, seen: set[str]) -> PartMeasures:
    """The measures of a run; structures whose hash was `seen` before count as duplicates, and all are noted there."""
    hashes = arrays["provenance/structure_hash"].tolist()
    n_twice = len(hashes) - len(set(hashes) - seen)
    seen.update(hashes)
    measures = measure_structures(arrays, piece.source, piece.service, piece.system)
    return replace(measures, rejected=Counter({"dataset: duplicate": n_twice} if n_twice else {}))


def measure_runs(
    file: h5py.File, runs: Iterable[Run], sources: Iterable[str], look: Callable[[Run, Arrays], None] = lambda run, arrays: None
) -> Measures:
    """The measures of all runs, read one by one; `look` is shown each with its columns."""
    seen = set[str]()

    def measure(run: Run) -> tuple[PartMeasures, Sequence[int]]:
        arrays = run.read(file)
        look(run, arrays)
        return measure_run(arrays, run.piece, seen), range(run.n_structures)

    return gather_measures(map(measure, runs), sources)


def judge_file(measures: Measures, recipe: Recipe) -> list[Verdict]:
    """Every gate that a file can be judged by."""
    rules, wanted = find_rules(recipe, "full"), {name: source.count or 0 for name, source in recipe.sources.items()}
    return [judge_finding(found, rules[found.gate]) for found in find_values(measures, recipe, wanted) if found.gate not in NOT_JUDGED]


def name_verdict(verdicts: list[Verdict]) -> DerivedVerdict:
    """NO-GO if a required gate is not passed; never GO, as not all of them can be judged."""
    return "PARTLY JUDGED" if is_go(verdicts) else "NO-GO"


def read_derived(path: Path) -> Derivation:
    """How a dataset came about that was made of others; InvalidRequest if it was not."""
    with open_dataset(path) as file:
        derivation = read_derivation(file)
    if derivation is None:
        raise InvalidRequest(f"{path} was not made by merge, filter or select: its own folder has its recipe, parts and verdict")
    return derivation


def judge_derived(path: Path) -> list[Verdict]:
    """The verdicts on such a file; InvalidRequest if it is none."""
    derivation = read_derived(path)
    with open_dataset(path) as file:
        runs = find_runs(file)
        recipe = restate(path.stem, derivation, str(file["metadata"].attrs.get("teacher_model", "")), runs)
        return judge_file(measure_runs(file, runs, recipe.sources), recipe)
