"""The dataset card: teacher, services, licences, versions; how to load the dataset and how to cite it."""

from typing import Any

from distillery.dataset.layout import LAYOUT_VERSION
from distillery.recipe.recipe import Recipe
from distillery.report.card.usage import LIMITS, UNITS, describe_loading, write_citation
from distillery.report.page.survey import Survey
from distillery.schema.base import CONTRACT_VERSION


def describe_dataset(survey: Survey, recipe: Recipe, known: str) -> dict[str, Any]:
    """Teachers, makers and benchmark structures, as the parts name them; `known` is what tells the dataset from others of its name."""
    teachers, year = list(survey.teachers.values()), survey.last_made[:4] or "n.d."
    return {
        "teachers": teachers,
        "units": UNITS,
        "limits": LIMITS,
        "loading": describe_loading(),
        "citation": write_citation(recipe.name, sum(map(len, survey.ids)), teachers[0] if teachers else None, year, known),
        "makers": [(name, recipe.sources[name].system, list(own.makers)) for name, own in survey.sources.items()],
        "n_parts": survey.n_parts,
        "benchmarks": sorted(survey.benchmarks.items()),
        "n_from_benchmarks": sum(survey.benchmarks.values()),
        "made_between": (survey.first_made, survey.last_made),
        "contract_version": CONTRACT_VERSION,
        "layout_version": LAYOUT_VERSION,
    }
