"""Which datasets the first page lists: those that agree with what is chosen, a page of them at a time."""

from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import Query

from distillery.schema.dataset import State
from distillery.schema.report import VerdictWord
from gateway.dataset_statuses import Selection

MOST_DATASETS = 100
"""On a page."""


@dataclass(frozen=True)
class Listing:
    """What is chosen, as the page's address has it; "" is what a form sends of a field that nobody filled.

    named  a piece of their names
    after  the last name of the page before
    """

    named: Annotated[str, Query(max_length=100)] = ""
    state: State | Literal[""] = ""
    verdict: VerdictWord | Literal[""] = ""
    after: Annotated[str, Query(max_length=255)] = ""

    @property
    def selection(self) -> Selection:
        """Which datasets agree."""
        return Selection(self.state or None, self.verdict or None, None, self.named.strip())

    @property
    def is_narrowed(self) -> bool:
        """True if something is chosen."""
        return any((self.named.strip(), self.state, self.verdict))

    @property
    def query(self) -> str:
        """The end of the page's address, with its question mark; "" where nothing is chosen."""
        return self._write({})

    @property
    def start(self) -> str:
        """The same of the first page."""
        return self._write({"after": ""})

    def go_on(self, after: str) -> str:
        """The same of the next page."""
        return self._write({"after": after})

    def _write(self, changes: dict[str, str]) -> str:
        given = {"named": self.named.strip(), "state": self.state, "verdict": self.verdict, "after": self.after} | changes
        wanted = {key: value for key, value in given.items() if value}
        return f"?{urlencode(wanted)}" if wanted else ""
