"""The periodic table of the page: every element has its own place, and its share."""

import numpy as np
import pytest
from ase.data import atomic_numbers

from distillery.report.page.periodic_table import chart_periodic_table, is_wanted, place_element


def test_every_element_has_a_place_of_its_own() -> None:
    assert len({place_element(z) for z in range(1, 119)}) == 118


@pytest.mark.parametrize(
    ("symbol", "row", "column"),
    [
        ("H", 0, 0),
        ("He", 0, 17),
        ("B", 1, 12),
        ("Sc", 3, 2),
        ("Zn", 3, 11),
        ("Ba", 5, 1),
        ("Lu", 5, 2),
        ("Au", 5, 10),
        ("La", 8, 2),
        ("U", 9, 5),
    ],
)
def test_elements_stand_where_one_looks_for_them(symbol: str, row: int, column: int) -> None:
    assert place_element(atomic_numbers[symbol]) == (row, column)


def test_each_element_is_coloured_by_its_own_share_and_all_others_are_named() -> None:
    chart = chart_periodic_table([8, 26], np.array([75.0, 25.0]))
    shares, others = chart.figure.data
    assert (shares.z[1, 15], shares.z[3, 7], np.isfinite(shares.z).sum()) == (75.0, 25.0, 2)
    assert (shares.text[1, 15], shares.text[3, 7], len(others.text)) == ("O", "Fe", 116)
    assert others.text[others.x.index(8)] == "Co"


def test_it_is_drawn_where_there_are_elements_beyond_the_usual_nine() -> None:
    assert not is_wanted([1, 6, 8, 17])
    assert is_wanted([1, 6, 26])
