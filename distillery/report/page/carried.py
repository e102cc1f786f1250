"""Which structures the page carries, so that they can be seen in it."""

import operator
from collections.abc import Callable

from distillery.dataset.layout import Arrays
from distillery.report.page.gallery import Gallery, describe_gallery
from distillery.report.page.outliers import Outliers, fetch_outliers
from distillery.report.page.properties import Properties, Residuals
from distillery.report.page.sampling import SampledStructure, merge_samples
from distillery.report.page.survey import Survey

CARRIED = 200
"""Structures drawn at random for the page where nothing else is said."""
LEAST_OF_A_SOURCE = 5


def fill_gallery(survey: Survey, residuals: Residuals, outliers: list[Outliers], read: Callable[[str], Arrays], n: int) -> Gallery:
    """The gallery of `n` structures drawn at random, and of all outliers; `read` gives the columns of a part by its name."""
    drawn, named = draw_structures(survey, n), list(fetch_outliers(outliers, read))
    ids = {one.structure.id for one in (*drawn, *(outlier for _, outlier in named))}
    return describe_gallery(drawn, named, Properties(survey, residuals, ids))


def draw_structures(survey: Survey, n: int) -> list[SampledStructure]:
    """At most `n` of all sources by their keys, at least five of every source where `n` has room for that."""
    samples = [own.sample.drawn for own in survey.sources.values()]
    each = min(LEAST_OF_A_SOURCE, n // max(len(samples), 1))
    first = [one for drawn in samples for one in drawn[:each]]
    rest = merge_samples((drawn[each:] for drawn in samples), n - len(first))
    return sorted([*first, *rest], key=operator.attrgetter("key"))
