"""Options of a Chemeleon request, and compositions as it takes them."""

import re
from typing import Annotated

from ase.data import atomic_numbers
from pydantic import AfterValidator, Field, StrictStr

from distillery.schema.base import Message

MOST_CELL_ATOMS = 100
_FORMULA = re.compile(r"(?:[A-Z][a-z]?[0-9]*)+")
_TERM = re.compile(r"([A-Z][a-z]?)([0-9]*)")


def read_composition(formula: str) -> tuple[int, ...]:
    """The atomic numbers of a cell of this formula, SiO2: (14, 8, 8). ValueError says what is wrong with it."""
    if not _FORMULA.fullmatch(formula):
        raise ValueError(f"{formula!r} is no composition; write symbols and whole numbers, as SiO2 or Na4Cl4")
    numbers: list[int] = []
    for symbol, count in _TERM.findall(formula):
        if symbol not in atomic_numbers or symbol == "X":
            raise ValueError(f"{formula!r}: there is no element {symbol!r}")
        numbers += [atomic_numbers[symbol]] * int(count or 1)
        if len(numbers) > MOST_CELL_ATOMS:
            raise ValueError(f"{formula!r} has over {MOST_CELL_ATOMS} atoms; give the content of one cell")
    if not numbers:
        raise ValueError(f"{formula!r} has no atoms")
    return tuple(numbers)


def _be_a_composition(formula: str) -> str:
    read_composition(formula)
    return formula


class ChemeleonOptions(Message):
    """Options of a Chemeleon request."""

    compositions: tuple[Annotated[StrictStr, AfterValidator(_be_a_composition)], ...] = Field(
        (),
        description="contents of a cell, as [SiO2, Na4Cl4], one drawn for each sample; csp checkpoints need them, dng ones take none",
    )
