"""The report: what a dataset is and whether it may be used, from the parts alone."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from contract.disk import write_text_whole
from contract.messages import FinaliseReceipt
from contract.parts import list_parts
from contract.problems import Internal, Unavailable
from gateway.gates import is_go, judge, sum_up
from gateway.ledger import Ledger
from gateway.measures import Measures, SourceMeasures, entropy_bits, entropy_ceiling, merge_sources
from gateway.page.aside import PAGE
from gateway.plan import Plan
from gateway.progress import describe_checkpoint, describe_scenario, describe_stages
from gateway.recipe import Recipe, StageName

REPORT = "report.json"
CHECKPOINTS = "checkpoints.json"


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
    stems = Counter(part.rpartition("-")[0] for part in parts)
    is_whole = set(parts) == {f"{stem}-{k:05d}" for stem, n in stems.items() for k in range(n)}
    return report if is_whole and len(parts) == report["parts"] else None


def forget_report(folder: Path) -> None:
    """Remove report and page: a verdict holds until the dataset is worked on again. Unavailable if they can't be removed."""
    for path in (folder / REPORT, folder / PAGE):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise Unavailable(f"can't remove the old {path}: {error}; make the data folder writable") from error


def make_report(ledger: Ledger, plan: Plan, receipt: FinaliseReceipt) -> dict[str, Any]:
    """The content of report.json."""
    recipe, wanted = ledger.recipe, {name: tally.count for name, tally in plan.tallies.items()}
    measures = ledger.measure(plan, wanted)
    verdicts = judge(measures, recipe, plan.stage, wanted)
    first = ledger.find(next(plan.shards()).name)
    assert first is not None
    return {
        "dataset": recipe.name,
        "verdict": "GO" if is_go(verdicts) else "NO-GO",
        "stage": plan.stage,
        "reasons": list(sum_up(verdicts).reasons),
        "gates": [verdict.as_json() for verdict in verdicts],
        "stages": describe_stages(plan),
        "checkpoints": [describe_checkpoint(checkpoint) for checkpoint in plan.checkpoints],
        "scenario": describe_scenario(plan),
        "totals": {"n_structures": receipt.n_structures, "n_atoms": receipt.n_atoms, "n_bytes": receipt.n_bytes},
        "rounds": len(plan.rounds),
        "parts": sum(1 for _ in plan.shards()),
        "sources": {name: _describe_source(own, recipe, wanted[name]) for name, own in measures.sources.items()},
        "elements": _describe_elements(measures, recipe),
        "teacher": first.teacher.model_dump(mode="json"),
        "recipe_sha256": recipe.sha256,
        "structures_sha256": receipt.structures_sha256,
    }


def _describe_source(own: SourceMeasures, recipe: Recipe, wanted: int) -> dict[str, Any]:
    sizes = np.array(own.sizes or [0])
    return {
        "wanted": wanted,
        "kept": own.kept,
        "requested": own.requested,
        "generated": own.generated,
        "labelled": own.labelled,
        "made_by": dict(own.makers),
        "fallback_notes": sorted(own.notes),
        "rejected": {reason: count for reason, count in sorted(own.rejected.items()) if count},
        "generate_seconds": round(own.generate_seconds, 3),
        "label_seconds": round(own.label_seconds, 3),
        "n_atoms": {"min": int(sizes.min()), "mean": float(sizes.mean()), "max": int(sizes.max())},
        "n_compositions": own.n_compositions,
        "element_entropy": _describe_entropy(own, recipe),
    }


def _describe_elements(measures: Measures, recipe: Recipe) -> dict[str, Any]:
    merged = merge_sources(measures.sources.values())
    n_atoms = max(int(merged.atoms_of.sum()), 1)
    shares = {chemical_symbols[z]: int(merged.atoms_of[z]) / n_atoms for z in np.flatnonzero(merged.atoms_of)}
    return {"share_of_atoms": shares, "entropy": _describe_entropy(merged, recipe)}


def _describe_entropy(own: SourceMeasures, recipe: Recipe) -> dict[str, float]:
    """Entropy in bits by atoms and by structures, over the recipe's elements and over all, each with its ceiling."""
    wanted = np.array([atomic_numbers[e] for e in recipe.elements])
    hydrogen = own.atoms_of[1] / max(int(own.atoms_of.sum()), 1)
    n_all = int((own.atoms_of > 0).sum())
    values = {
        "by_atoms": entropy_bits(own.atoms_of),
        "by_atoms_of_recipe_elements": entropy_bits(own.atoms_of[wanted]),
        "by_structures": entropy_bits(own.structures_with),
        "by_structures_of_recipe_elements": entropy_bits(own.structures_with[wanted]),
        "ceiling": entropy_ceiling(n_all),
        "ceiling_of_recipe_elements": entropy_ceiling(len(wanted)),
        "ceiling_at_this_hydrogen_share": entropy_ceiling(n_all, float(hydrogen) if hydrogen else None),
    }
    assert all(math.isfinite(v) for v in values.values())
    return {name: round(value, 4) for name, value in values.items()}
