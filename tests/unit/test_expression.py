"""Conditions on structures in words of arithmetic."""

import numpy as np
import pytest

from distillery.dataset.expression import NAMES, Condition
from distillery.errors import InvalidRequest

VALUES = {
    "n_atoms": np.array([1.0, 5.0, 9.0]),
    "energy_per_atom": np.array([-1.0, -2.0, -3.0]),
    "pressure": np.array([np.nan, -4.0, 4.0]),
    "source": np.array(["a", "b", "a"]),
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("n_atoms > 1", [False, True, True]),
        ("n_atoms >= 1", [True, True, True]),
        ("n_atoms < 5", [True, False, False]),
        ("n_atoms <= 5", [True, True, False]),
        ("n_atoms == 5", [False, True, False]),
        ("n_atoms != 5", [True, False, True]),
        ("2 < n_atoms < 9", [False, True, False]),
        ("1 < 2 < n_atoms", [False, True, True]),
        ("n_atoms > 1 and energy_per_atom > -3", [False, True, False]),
        ("n_atoms == 1 or energy_per_atom == -3", [True, False, True]),
        ("not n_atoms > 1", [True, False, False]),
        ("not 1 < 2 or n_atoms == 9", [False, False, True]),
        ("source == 'a'", [True, False, True]),
        ("'a' != source", [False, True, False]),
        ("energy_per_atom * 2 + 1 - n_atoms / 3 < -6", [False, False, True]),
        ("-n_atoms == -5", [False, True, False]),
        ("n_atoms / 0 > 7", [True, True, True]),
        ("pressure < 0", [False, True, False]),
        ("pressure != 4", [False, True, False]),
    ],
)
def test_where_a_condition_holds(text: str, holds: list[bool]) -> None:
    assert Condition(text).test(VALUES).tolist() == holds


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "invalid syntax"),
        ("n_atoms >", "invalid syntax"),
        ("n_atoms", "'n_atoms' stands where a comparison is wanted"),
        ("n_atoms + 1", "stands where a comparison is wanted"),
        ("1 < 2", "it asks nothing of a structure"),
        ("atoms > 3", "'atoms' can't stand there"),
        ("__import__('os').system('true') == 0", "can't stand there"),
        ("n_atoms.real > 3", "can't stand there"),
        ("n_atoms ** 2 > 3", "can't stand there"),
        ("(lambda: 1)() > n_atoms", "can't stand there"),
        ("n_atoms > True", "'True' can't stand there"),
        ("n_atoms in [1, 2]", "can't stand there"),
        ("source > 'a'", "texts are compared by == and != alone"),
        ("source == 3", "a text is compared with a number"),
        ("source + 'a' == 'b'", "'source' is a text, a number is wanted"),
        ("(n_atoms > 3) + 1 > 2", "'n_atoms > 3' stands where a number or a text is wanted"),
        ("not n_atoms", "stands where a comparison is wanted"),
        ("n_atoms > 1 and " * 100 + "n_atoms > 1", "at most 1000"),
        ("(" * 400 + "n_atoms" + ")" * 400 + " > 1", "can't be used"),
    ],
)
def test_what_is_no_condition_is_refused_by_name(text: str, fault: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        Condition(text)
    assert fault in str(raised.value)
    assert all(name in str(raised.value) for name in NAMES)


def test_a_condition_knows_what_it_asks() -> None:
    assert Condition("n_atoms > 3 and not source == 'a'").names == {"n_atoms", "source"}
