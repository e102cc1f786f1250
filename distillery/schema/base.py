"""The base of all JSON messages, and the types of their fields: frozen, no extra keys, strict integers, finite floats."""

from collections import Counter
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, StrictStr

from distillery.structures.elements import ATOMIC_NUMBERS


class Message(BaseModel):
    """Base of all messages: frozen, extra keys forbidden, floats finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _known_element(symbol: str) -> str:
    if symbol not in ATOMIC_NUMBERS:
        raise ValueError(f"{symbol!r} is not a chemical symbol")
    return symbol


def _all_different(elements: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted(element for element, n in Counter(elements).items() if n > 1)
    if twice:
        raise ValueError(f"name every element once; {' '.join(twice)} is there twice")
    return elements


def _no_truth_value(value: object) -> object:
    """Pydantic takes true for 1: a rattle of 1 Å."""
    if isinstance(value, bool):
        raise ValueError("a number is wanted")
    return value


CONTRACT_VERSION = "1.0"
"""Of the messages between gateway, services and labeller."""
Element = Annotated[StrictStr, AfterValidator(_known_element)]


Elements = Annotated[tuple[Element, ...], Field(min_length=1, max_length=len(ATOMIC_NUMBERS)), AfterValidator(_all_different)]


Number = Annotated[float, BeforeValidator(_no_truth_value)]


NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"
Name = Annotated[StrictStr, Field(pattern=NAME_PATTERN)]


Sha256 = Annotated[StrictStr, Field(pattern=r"^[0-9a-f]{64}$")]


Count = Annotated[StrictInt, Field(ge=0)]
