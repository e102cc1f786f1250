"""The quickstart, run once by the command a user types, for all tests; and at the end what was not run, and why."""

from collections import Counter
from contextlib import suppress

import pytest

from tests.command import Finished, make_quickstart

with suppress(ImportError):  # images run tests without hypothesis
    from hypothesis import settings

    settings.register_profile("patient", deadline=None)  # a busy machine is no fault
    settings.load_profile("patient")


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The finished quickstart; tests leave it as it is."""
    return make_quickstart(tmp_path_factory)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A line for every kind of reason for which tests were skipped, the most frequent first."""
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", []))
    for line in describe_skipped(reasons):
        terminalreporter.write_line(line, yellow=True)


def describe_skipped(reasons: Counter[str]) -> list[str]:
    """Lines with the number of tests that each reason skipped; reasons that end in the same advice, after a colon, are one."""
    kinds: dict[str, list[str]] = {}
    for reason in sorted(reasons):
        kinds.setdefault(reason.partition(": ")[2] or reason, []).append(reason)
    by_number = sorted(kinds.items(), key=lambda kind: -sum(reasons[reason] for reason in kind[1]))
    return [f"NOT RUN: {sum(reasons[one] for one in own)} tests: {_join(own)}" for _, own in by_number]


def _join(reasons: list[str]) -> str:
    """The beginnings of the reasons, then the end that they have in common."""
    beginnings = [reason.partition(": ")[0] for reason in reasons]
    return ": ".join(filter(None, ["; ".join(beginnings), reasons[0].partition(": ")[2]]))
