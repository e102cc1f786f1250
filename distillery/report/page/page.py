"""The page: everything measured from a dataset's parts, put into one HTML file."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distillery.dataset.folder import RECIPE, require_parts
from distillery.dataset.layout import Arrays
from distillery.planning.gates import Verdict, is_go, judge
from distillery.planning.made_parts import MadeParts
from distillery.planning.measures import Measures
from distillery.planning.plan import Plan
from distillery.planning.statistics import energy_residuals
from distillery.recipe.reading import read_recipe
from distillery.recipe.recipe import Recipe
from distillery.recipe.target import read_target
from distillery.report.diversity import Diversity, measure_diversity
from distillery.report.files import read_assessment, read_disagreement
from distillery.report.page.carried import CARRIED, fill_gallery
from distillery.report.page.composition import chart_composition
from distillery.report.page.contact_charts import chart_contacts, measure_contacts
from distillery.report.page.diversity_charts import chart_diversity
from distillery.report.page.gate_table import list_rows
from distillery.report.page.generation_charts import chart_making, list_yields
from distillery.report.page.header import describe_dataset
from distillery.report.page.label_charts import chart_labels
from distillery.report.page.outliers import find_outliers
from distillery.report.page.parity_charts import chart_parity
from distillery.report.page.rendering import embed_figures, render
from distillery.report.page.source_views import view_sources
from distillery.report.page.survey import SAMPLE_SIZE, Survey
from distillery.report.page.worth_charts import chart_worth, list_errors
from distillery.report.summary import describe_scenario, describe_stages
from distillery.runtime.atomic_files import write_text_whole


@dataclass(frozen=True, eq=False)
class Measured:
    """Everything measured of a dataset; `wanted` is the number of structures of every source at this point of its plan."""

    recipe: Recipe
    wanted: dict[str, int]
    survey: Survey
    measures: Measures
    verdicts: list[Verdict]


def write_page(folder: Path, target: Path, n_carried: int = CARRIED) -> Diversity | None:
    """Write the page of the dataset in a folder, made from its recipe and the parts there are; the diversity that it shows.

    It carries `n_carried` structures drawn at random, and the outliers, to be looked at. InvalidRequest if its parts are gone.
    """
    require_parts(folder)
    recipe, text = read_recipe(folder / RECIPE)
    html, diversity = make_page(MadeParts(folder, recipe), text, n_carried)
    write_text_whole(target, html)
    return diversity


def make_page(made_parts: MadeParts, recipe_text: str, n_carried: int = CARRIED) -> tuple[str, Diversity | None]:
    """The page's HTML, and the diversity of the sources if there are structures; the same parts give the same."""
    found, plan = _measure(made_parts, n_carried)
    context: dict[str, Any] = {
        **describe_measured(found, f"recipe sha256 {made_parts.recipe.sha256[:16]}"),
        **_describe_plan(plan),
        "verdict": ("GO" if is_go(found.verdicts) else "NO-GO") if plan.is_complete else "IN PROGRESS",
        "recipe_text": recipe_text,
        "derivation": None,
        "gallery": None,
        "diversity": None,
        "worth": None,
        "disagreement": None,
    }
    if found.survey.ids:
        context |= describe_structures(found, lambda part: made_parts.read(part).arrays)
        worth, disagreement = read_assessment(made_parts.folder), read_disagreement(made_parts.folder)
        charts = context["charts"] | {
            "making": chart_making(found.measures),
            "worth": [] if worth is None else chart_worth(worth),
            "parity": [] if disagreement is None else chart_parity(disagreement),
        }
        rows = [] if worth is None else list_errors(worth)
        context |= {"charts": charts, "worth": worth, "worth_rows": rows, "disagreement": disagreement}
    return render_page(context), context["diversity"]


def render_page(context: dict[str, Any]) -> str:
    """The HTML of all that was found, the figures of its charts embedded."""
    charts = context.get("charts", {})
    return render(context | {"figures": embed_figures([chart for group in charts.values() for chart in group])})


def _measure(made_parts: MadeParts, n_carried: int) -> tuple[Measured, Plan]:
    recipe, plan = made_parts.recipe, made_parts.make_plan(read_target(made_parts.folder).last)
    wanted = {name: tally.count for name, tally in plan.tallies.items()}
    survey, kept = Survey(list(recipe.sources), recipe.seed, n_carried), dict(_list_kept(made_parts, plan, wanted))
    for part, indices in kept.items():
        survey.add(made_parts.read(part), indices)
    measures = made_parts.gather(plan, wanted, kept)
    return Measured(recipe, wanted, survey, measures, judge(measures, recipe, plan.stage, wanted)), plan


def _list_kept(made_parts: MadeParts, plan: Plan, wanted: Mapping[str, int]) -> Iterator[tuple[str, Sequence[int]]]:
    """The parts there are, in plan order, with what counts of each; behind a gap in the plan nothing is left out yet."""
    for shard in plan.shards():
        entry = made_parts.find(shard.name)
        if entry is not None:
            drawn = plan.planned_parts.get(shard.name)
            yield shard.name, drawn.keep(wanted) if drawn else range(entry.measures.labelled)


def _describe_plan(plan: Plan) -> dict[str, Any]:
    return {
        "stage": plan.stage,
        "stages": describe_stages(plan),
        "scenario": describe_scenario(plan),
        "is_finished": plan.is_complete,
        "n_rounds": len(plan.rounds),
    }


def describe_measured(found: Measured, known: str) -> dict[str, Any]:
    """Gates, counts and the dataset card; `known` is what tells the dataset from others of its name."""
    sources = found.measures.sources.values()
    return {
        **describe_dataset(found.survey, found.recipe, known),
        "recipe": found.recipe,
        "yields": list_yields(found.measures, found.wanted),
        "failed": [v for v in found.verdicts if v.required and not v.passed],
        "required": list_rows(v for v in found.verdicts if v.required),
        "advisory": list_rows(v for v in found.verdicts if not v.required),
        "n_structures": sum(own.kept for own in sources),
        "n_wanted": sum(found.wanted.values()),
        "n_atoms": int(sum(own.atoms_of.sum() for own in sources)),
    }


def describe_structures(found: Measured, read: Callable[[str], Arrays]) -> dict[str, Any]:
    """Charts, outliers and gallery; there is a structure at least. `read` gives the columns of a part by its name."""
    survey, recipe = found.survey, found.recipe
    residuals = energy_residuals(np.concatenate(found.measures.energies), found.measures.counts_and_charges)
    contacts = measure_contacts(survey)
    samples = {name: [drawn.structure for drawn in own.measured] for name, own in survey.sources.items()}
    diversity = measure_diversity(samples, recipe.seed)
    outliers = find_outliers(survey, residuals, contacts)
    gallery = fill_gallery(survey, residuals, outliers, read, survey.n_carried)
    charts = {
        "composition": chart_composition(found.measures, survey, recipe, found.wanted, _find_threshold(found, "element_entropy")),
        "labels": chart_labels(survey, residuals, _find_threshold(found, "largest_force")),
        "geometry": chart_contacts(contacts),
        "diversity": chart_diversity(diversity, survey.names),
    }
    return {
        "charts": charts,
        "diversity": diversity,
        "outliers": outliers,
        "sample_size": SAMPLE_SIZE,
        "gallery": gallery,
        "sources": view_sources(found.measures, survey, recipe, found.wanted, outliers, gallery),
        "sides": survey.sides.list_rows(survey.names),
    }


def _find_threshold(found: Measured, gate: str) -> float | None:
    return next((verdict.threshold for verdict in found.verdicts if verdict.gate == gate), None)
