"""What was not run is said at the end, in a line a kind of reason."""

from collections import Counter

from tests.conftest import describe_skipped


def test_reasons_with_the_same_advice_are_one_line_and_the_most_frequent_comes_first() -> None:
    reasons = {"needs orb-models": 3, "needs the code of a: set X": 2, "needs the code of b: set X": 5, "no root: become one": 1}
    assert describe_skipped(Counter(reasons)) == [
        "NOT RUN: 7 tests: needs the code of a; needs the code of b: set X",
        "NOT RUN: 3 tests: needs orb-models",
        "NOT RUN: 1 tests: no root: become one",
    ]
    assert describe_skipped(Counter()) == []
