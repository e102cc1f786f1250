"""report.json and checkpoints.json: written, read, compared and removed."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from distillery.dataset.folder import CHECKPOINTS, PAGE, REPORT, list_parts, name_part, split_part_name
from distillery.errors import Internal, Unavailable
from distillery.planning.plan import Plan
from distillery.recipe.recipe import Recipe, StageName
from distillery.report.summary import describe_checkpoint
from distillery.runtime.atomic_files import write_text_whole


def write_report(folder: Path, report: dict[str, Any], diversity: dict[str, Any] | None) -> dict[str, Any]:
    """Write report.json; the report with `diversity` in it, which is what the page has measured if one was made."""
    if diversity is not None:
        report = {**report, "diversity": diversity}
    write_text_whole(folder / REPORT, json.dumps(report, indent=2, allow_nan=False) + "\n")
    return report


def find_report(folder: Path, report: dict[str, Any]) -> dict[str, Any] | None:
    """The report that is there already, if it says the same as this one; with its `diversity`."""
    try:
        found = read_report(folder)
    except Internal:
        return None
    same = json.loads(json.dumps(report))
    return found if found is not None and {**found, "diversity": None} == {**same, "diversity": None} else None


def write_checkpoints(folder: Path, plan: Plan) -> None:
    """Write checkpoints.json, what is known while there is no report; it can be derived from the parts at any time."""
    rows = [describe_checkpoint(checkpoint) for checkpoint in plan.checkpoints]
    write_text_whole(folder / CHECKPOINTS, json.dumps(rows, indent=2, allow_nan=False) + "\n")


def read_report(folder: Path) -> dict[str, Any] | None:
    """The report of a dataset, None if there is none yet."""
    try:
        report: dict[str, Any] = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise Internal(f"{folder / REPORT} can't be read: {error}; remove it and resume: it is made again") from error
    return report


def find_finished(folder: Path, recipe: Recipe, last: StageName) -> dict[str, Any] | None:
    """The report of a dataset that is made as far as is wanted, by the names of its parts; none of them is read."""
    try:
        report = read_report(folder)
    except Internal:
        return None
    if report is None or report["recipe_sha256"] != recipe.sha256 or (report["stage"] != last and report["verdict"] == "GO"):
        return None
    parts = list_parts(folder)
    stems = Counter(split_part_name(part)[2] for part in parts)
    is_whole = set(parts) == {name_part(stem, k) for stem, n in stems.items() for k in range(n)}
    return report if is_whole and len(parts) == report["parts"] else None


def forget_report(folder: Path) -> None:
    """Remove report and page: a verdict holds until the dataset is worked on again. Unavailable if they can't be removed."""
    for path in (folder / REPORT, folder / PAGE):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise Unavailable(f"can't remove the old {path}: {error}; make the data folder writable") from error
