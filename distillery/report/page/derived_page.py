"""The page of a dataset that was made of others: from its one file, with the gates that a file alone can be judged by."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from distillery.dataset.derivation import TEACHER, Derivation
from distillery.dataset.layout import Arrays, open_dataset
from distillery.dataset.splits import read_joined
from distillery.planning.gates import Verdict
from distillery.report.derived import NOT_JUDGED, Run, find_runs, judge_file, measure_runs, name_verdict, read_derived, restate
from distillery.report.page.carried import CARRIED
from distillery.report.page.page import Measured, describe_measured, describe_structures, render_page
from distillery.report.page.survey import Maker, Survey
from distillery.runtime.atomic_files import write_text_whole
from distillery.schema.label import TeacherCard


@dataclass(frozen=True)
class DerivedPage:
    """What was written, and the gates that it shows; `n_structures` are in the dataset."""

    verdict: str
    verdicts: list[Verdict]
    n_structures: int


def write_derived_page(path: Path, target: Path, n_carried: int = CARRIED) -> DerivedPage:
    """Write the page of a dataset made by merge, filter or select; InvalidRequest if it is none.

    The same file gives the same page. It carries `n_carried` structures drawn at random, and the outliers.
    """
    derivation = read_derived(path)
    with open_dataset(path) as file:
        attributes, runs = dict(file["metadata"].attrs), find_runs(file)
        found = _measure(file, path.stem, derivation, runs, n_carried)
        where = _find_shards(runs)

        def read(shard: str) -> Arrays:
            return where[shard].read(file)

        shown = describe_structures(found, read)
    verdict = name_verdict(found.verdicts)
    context: dict[str, Any] = {
        **describe_measured(found, f"structures sha256 {str(attributes['structures_sha256'])[:16]}"),
        **shown,
        "verdict": verdict,
        "derivation": derivation,
        "command": " ".join(derivation.write_command(path.name)),
        "not_judged": {gate.replace("_", " "): why for gate, why in NOT_JUDGED.items()},
        "structures_sha256": attributes["structures_sha256"],
        "is_finished": True,
        "stage": "full",
        "stages": [],
        "worth": None,
        "disagreement": None,
    }
    write_text_whole(target, render_page(context))
    return DerivedPage(verdict, found.verdicts, context["n_structures"])


def _measure(file: h5py.File, name: str, derivation: Derivation, runs: list[Run], n_carried: int) -> Measured:
    attributes = file["metadata"].attrs
    recipe = restate(name, derivation, str(attributes.get("teacher_model", "")), runs)
    survey = Survey(list(recipe.sources), recipe.seed, n_carried)
    survey.sides.joined = read_joined(file)
    survey.n_parts, survey.last_made = len(runs), str(attributes.get("creation_time", ""))
    if TEACHER in attributes:
        card = TeacherCard.model_validate_json(attributes[TEACHER])
        survey.teachers[card.name] = card

    def look(run: Run, arrays: Arrays) -> None:
        survey.sources[run.piece.source].makers[_describe_maker(run)] = None
        survey.add_structures(arrays, run.piece.shard, run.piece.source)

    measures = measure_runs(file, runs, recipe.sources, look)
    wanted = {source: own.count or 0 for source, own in recipe.sources.items()}
    return Measured(recipe, wanted, survey, measures, judge_file(measures, recipe))


def _describe_maker(run: Run) -> Maker:
    """The service of a run; what its versions are of is named with them."""
    piece = run.piece
    return Maker(piece.service, "", "", piece.licence, tuple(sorted(piece.versions.items())))


def _find_shards(runs: list[Run]) -> dict[str, Run]:
    """All structures of each shard, whatever their sources; those of one shard follow one another."""
    found: dict[str, Run] = {}
    for run in runs:
        first = found.get(run.piece.shard, run)
        columns = tuple(dict.fromkeys((*first.optional_columns, *run.optional_columns)))
        found[run.piece.shard] = Run(first.piece, (first.rows[0], run.rows[1]), (first.atoms[0], run.atoms[1]), columns)
    return found
