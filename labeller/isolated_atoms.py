"""The teacher's energies of isolated atoms, each asked for once."""

import logging
from collections.abc import Iterable

import numpy as np

from distillery.dataset.layout import Label
from distillery.structures.structure import Structure, numbers_of
from labeller.structure_queue import LabelAll, Outcome

_log = logging.getLogger("distillery")


class IsolatedAtoms:
    """What is known of a teacher's single neutral atoms so far."""

    def __init__(self) -> None:
        self._energies: dict[str, float | None] = {}

    def find(self, label_all: LabelAll, elements: Iterable[str]) -> dict[str, float]:
        """Energies, eV, by chemical symbol; of an element that the teacher has no label for there is none, which is logged once."""
        wanted = list(elements)
        unknown = [symbol for symbol in wanted if symbol not in self._energies]
        if unknown:
            outcomes = label_all([_make_atom(symbol) for symbol in unknown]).outcomes
            self._energies.update((symbol, _read_energy(outcome)) for symbol, outcome in zip(unknown, outcomes, strict=True))
        return {symbol: energy for symbol in wanted if (energy := self._energies[symbol]) is not None}


def _make_atom(symbol: str) -> Structure:
    return Structure(id=f"isolated {symbol}", numbers=numbers_of([symbol]), positions=np.zeros((1, 3)))


def _read_energy(outcome: Outcome) -> float | None:
    if isinstance(outcome, Label):
        return float(outcome.energy)
    _log.warning("%s: no label (%s: %s)", outcome.id, outcome.reason, outcome.detail)
    return None
