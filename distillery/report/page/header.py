"""The dataset card: teacher, services, licences, versions."""

from typing import Any

from distillery.dataset.layout import LAYOUT_VERSION
from distillery.recipe.recipe import Recipe
from distillery.report.page.survey import Survey
from distillery.schema.base import CONTRACT_VERSION


def describe_dataset(survey: Survey, recipe: Recipe) -> dict[str, Any]:
    """Teachers, makers and benchmark structures, as the parts name them."""
    return {
        "teachers": list(survey.teachers.values()),
        "makers": [(name, recipe.sources[name].system, list(own.makers)) for name, own in survey.sources.items()],
        "n_parts": survey.n_parts,
        "benchmarks": sorted(survey.benchmarks.items()),
        "n_from_benchmarks": sum(survey.benchmarks.values()),
        "made_between": (survey.first_made, survey.last_made),
        "contract_version": CONTRACT_VERSION,
        "layout_version": LAYOUT_VERSION,
    }
