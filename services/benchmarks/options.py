"""Options of the two systems: which subsets are sampled."""

from typing import Annotated

from pydantic import AfterValidator, Field, StrictStr

from distillery.schema.base import Message
from distillery.schema.explain import suggest
from distillery.structures.structure import System
from services.benchmarks.catalogue import names_of


def _known(names: tuple[str, ...], system: System) -> tuple[str, ...]:
    known = names_of(system)
    for name in names:
        if name not in known:
            raise ValueError(f"unknown {system} subset {name!r}{suggest(name, known)}")
    return tuple(dict.fromkeys(names))


def _known_surfaces(names: tuple[str, ...]) -> tuple[str, ...]:
    return _known(names, "surface")


def _known_crystals(names: tuple[str, ...]) -> tuple[str, ...]:
    return _known(names, "crystal")


class CrystalOptions(Message):
    """Options of the system `crystal`."""

    subsets: Annotated[tuple[StrictStr, ...], Field(min_length=1), AfterValidator(_known_crystals)] = Field(
        names_of("crystal"), description=f"sampled together, every structure alike; of {', '.join(names_of('crystal'))}"
    )


class SurfaceOptions(Message):
    """Options of the system `surface`."""

    subsets: Annotated[tuple[StrictStr, ...], Field(min_length=1), AfterValidator(_known_surfaces)] = Field(
        ("oc20",), description=f"sampled together, every structure alike; of {', '.join(names_of('surface'))}"
    )
