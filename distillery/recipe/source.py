"""A source: one kind of structures, the service that makes them, and their number."""

from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, StrictBool, StrictInt, StrictStr, model_validator

from distillery.runtime.canonical_json import canonical_json
from distillery.schema.base import Elements, Message, Number
from distillery.schema.generate import Perturb
from distillery.schema.label import LabelLimits
from distillery.schema.sample import Sample
from distillery.structures.elements import System

LARGEST_COUNT = 10_000_000


def _is_a_name(name: str) -> str:
    if name == "all":
        raise ValueError("all means all sources together in gates: give this source another name")
    try:
        float(name)
    except ValueError:
        if name not in {"true", "false"}:
            return name
    raise ValueError("ASE, which exports are read with, takes this for a number or truth value: give the source another name")


SourceName = Annotated[StrictStr, Field(pattern=r"^[a-z0-9][a-z0-9_]{0,39}$"), AfterValidator(_is_a_name)]


def _is_a_source(name: str) -> str:
    if name in {"labeller", "gateway"}:
        raise ValueError(f"{name} makes no structures")
    return name


ServiceName = Annotated[StrictStr, Field(pattern=r"^[a-z][a-z0-9-]{0,39}$"), AfterValidator(_is_a_source)]


def _is_a_range(atoms: tuple[int, int]) -> tuple[int, int]:
    if not 1 <= atoms[0] <= atoms[1]:
        raise ValueError("atoms must be [smallest, largest]")
    return atoms


def _is_json(options: dict[str, Any]) -> dict[str, Any]:
    try:
        canonical_json(options).encode()
    except (ValueError, TypeError) as error:
        raise ValueError(f"options hold a value that JSON can't hold: {error}") from error
    return options


class Source(Message):
    """One kind of structures and the service that makes them."""

    service: ServiceName = Field(description="the service that makes them")
    system: System = Field(description="molecule | crystal | cluster | surface")
    count: StrictInt | None = Field(None, ge=1, le=LARGEST_COUNT, description="how many; either count or share")
    share: Number | None = Field(None, gt=0, le=1, description="share of `total`; either count or share")
    atoms: Annotated[tuple[StrictInt, StrictInt], AfterValidator(_is_a_range)] | None = Field(
        None, description="smallest and largest number of atoms; the service's default if absent"
    )
    elements: Elements | None = Field(None, description="a subset of the recipe's; all of them if absent")
    options: Annotated[dict[str, Any], AfterValidator(_is_json)] = Field(
        {}, description="the service's own; `distillery services` shows them"
    )
    perturb: Perturb | None = Field(None, description="the recipe's if absent")
    sample: Sample | None = Field(
        None, description="what the teacher makes of each structure before it is labelled; the recipe's if absent"
    )
    limits: LabelLimits | None = Field(None, description="bounds of its labels; the recipe's if absent")
    fallback: SourceName | None = Field(None, description="the source that fills in when this one can't meet its count")
    attempts: Number = Field(3.0, ge=1, le=100, description="structures asked of it in all: at most this many times its count")
    generative: StrictBool = Field(False, description="counts as generative for `generative_fraction`")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if (self.count is None) == (self.share is None):
            raise ValueError("a source needs either count or share")
        return self

    def budget(self, owed: int) -> int:
        """Structures that may be asked for where so many are owed: as many of itself, and as many again of its fallback."""
        return int(self.attempts * owed)
