"""Options of a crystal request."""

from typing import Annotated

import numpy as np
from ase.formula import Formula
from pydantic import AfterValidator, Field, StrictInt, StrictStr

from distillery.schema.base import Message
from distillery.structures.structure import Numbers, numbers_of

LARGEST_CELL = 20
"""Atoms, as in MP-20, which upstream's published models are trained on."""
MOST_ATOMS = 100
"""In a cell of any model."""
BY_DIVISORS = "divisors"
LARGEST_NUMBER = 94
"""Pu: heavier elements have a place in the network's types, but were never trained."""
_EXACT = 1e-4
"""Guidance nearer to 1 than this is 1 to upstream, which then asks the network once a step instead of twice."""


def read_composition(formula: str) -> Numbers:
    """Atomic numbers of one formula unit, one an atom; ValueError if it is none or has more than MOST_ATOMS."""
    try:
        counts = Formula(formula).count()
        one_each = numbers_of([*counts])
    except (ValueError, KeyError) as error:
        raise ValueError("not a chemical formula") from error
    n_atoms = sum(counts.values())
    if not 1 <= n_atoms <= MOST_ATOMS:
        raise ValueError(f"a composition has 1-{MOST_ATOMS} atoms, not {n_atoms}")
    return np.repeat(one_each, [*counts.values()])


def _check_composition(formula: str) -> str:
    read_composition(formula)
    return formula


Composition = Annotated[StrictStr, Field(max_length=100), AfterValidator(_check_composition)]


class CrystalFlowOptions(Message):
    """Options of a crystal request."""

    compositions: tuple[Composition, ...] = Field(
        (),
        max_length=1000,
        description="formulas whose crystal structures are predicted, such as SiO2; without any, crystals are made de novo",
    )
    steps: StrictInt = Field(100, ge=1, le=10_000, description="steps of the integration")
    largest_cell: StrictInt = Field(
        LARGEST_CELL,
        ge=1,
        le=MOST_ATOMS,
        description="most atoms in a cell, before it is repeated; what the checkpoint was trained on is a good choice",
    )
    sizes: StrictStr | None = Field(
        None,
        description="how often cells de novo have how many atoms: as in a training set of upstream's (mp_20, alex_mp_20, …), or "
        "`divisors`: each number as often as it has divisors; if absent mp_20, or divisors where largest_cell is above 20",
    )
    anneal: float | None = Field(
        None,
        ge=0,
        le=20,
        description="coordinates move 1 + anneal * time as fast; if absent 5 for compositions, 0 de novo, as upstream does",
    )
    conditions: dict[str, float] = Field(
        {}, description="properties the crystals should have, by upstream's names and in its units; for checkpoints trained with them"
    )
    guidance: float = Field(1.0, gt=0, le=10, description="how strongly the conditions count; 1 is how they were trained")

    @property
    def is_guided(self) -> bool:
        """The network is asked twice a step, with and without conditions."""
        return abs(self.guidance - 1) >= _EXACT
