"""report.json and checkpoints.json: written, read, compared and removed."""

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from distillery.dataset.folder import (
    ASSESSMENT,
    CARD,
    CHECKPOINTS,
    CROISSANT,
    DATASET,
    DISAGREEMENT,
    PAGE,
    REPORT,
    list_parts,
    name_part,
    split_part_name,
)
from distillery.errors import Internal, Unavailable
from distillery.recipe.recipe import Recipe, StageName
from distillery.runtime.atomic_files import write_text_whole
from distillery.runtime.small_files import read_small
from distillery.schema.assess import Assessment
from distillery.schema.disagreement import Disagreement
from distillery.schema.report import Report

if TYPE_CHECKING:
    from distillery.planning.plan import Plan

LATER = ("diversity", "assessment", "disagreement")
"""What is added to a report once it is written, and does not follow from the parts alone."""


def write_report(folder: Path, report: Report) -> None:
    """Write report.json whole or not at all."""
    write_text_whole(folder / REPORT, _as_text(report.as_json()))


def find_report(folder: Path, report: Report) -> Report | None:
    """The report that is there already, if it says the same as this one; with what was added to it later."""
    try:
        found = read_report(folder)
    except Internal:
        return None
    return found if found is not None and found.model_copy(update=dict.fromkeys(LATER)) == report else None


def write_checkpoints(folder: Path, plan: "Plan") -> None:
    """Write checkpoints.json, what is known while there is no report; it can be derived from the parts at any time."""
    from distillery.report.summary import describe_checkpoints

    write_text_whole(folder / CHECKPOINTS, _as_text([record.model_dump(mode="json") for record in describe_checkpoints(plan)]))


def _as_text(value: Any) -> str:
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def read_report(folder: Path) -> Report | None:
    """The report of a dataset, None if there is none yet; Internal if it can't be read."""
    try:
        return Report.model_validate_json(read_small(folder / REPORT))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise Internal(f"{folder / REPORT} can't be read: {error}; remove it and resume: it is made again") from error


def read_assessment(folder: Path) -> Assessment | None:
    """What a student learnt from the dataset.h5 of a folder; None if it was not asked, or of other structures than lie there now.

    Internal if assess.json can't be read.
    """
    return _read_beside(folder, ASSESSMENT, Assessment, "assess")


def read_disagreement(folder: Path) -> Disagreement | None:
    """How far the labels are from those of before; None and Internal as of `read_assessment`."""
    return _read_beside(folder, DISAGREEMENT, Disagreement, "relabel")


_Beside = TypeVar("_Beside", Assessment, Disagreement)


def _read_beside(folder: Path, name: str, kind: type[_Beside], command: str) -> _Beside | None:
    """What a command wrote of the dataset.h5 beside it."""
    from distillery.dataset.layout import open_dataset

    path = folder / name
    if not path.is_file() or not (folder / DATASET).is_file():
        return None
    try:
        found = kind.model_validate_json(read_small(path))
    except (OSError, ValueError) as error:
        raise Internal(f"{path} can't be read: {error}; remove it, and `distillery {command}` makes it again") from error
    with open_dataset(folder / DATASET) as file:
        return found if found.structures_sha256 == file["metadata"].attrs["structures_sha256"] else None


def find_finished(folder: Path, recipe: Recipe, last: StageName) -> Report | None:
    """The report of a dataset that is made as far as is wanted, by the names of its parts; none of them is read."""
    try:
        report = read_report(folder)
    except Internal:
        return None
    if report is None or report.recipe_sha256 != recipe.sha256 or (report.stage != last and report.verdict == "GO"):
        return None
    parts = list_parts(folder)
    stems = Counter(split_part_name(part)[2] for part in parts)
    is_whole = set(parts) == {name_part(stem, k) for stem, n in stems.items() for k in range(n)}
    return report if is_whole and len(parts) == report.parts else None


def forget_report(folder: Path) -> None:
    """Remove report, page and card: a verdict holds until the dataset is worked on again. Unavailable if they can't be removed."""
    for path in (folder / REPORT, folder / PAGE, folder / CARD, folder / CROISSANT):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise Unavailable(f"can't remove the old {path}: {error}; make the data folder writable") from error
