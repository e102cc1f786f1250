"""Options of a crystal request."""

from typing import Annotated, Self

from pydantic import Field, StrictInt, model_validator

from distillery.schema.base import Element, Message
from services.pymatgen.symmetric import N_SPACE_GROUPS

MOST_ELEMENTS = 5
"""As many as the library's richest prototype has."""

SpaceGroup = Annotated[StrictInt, Field(ge=1, le=N_SPACE_GROUPS)]


class CrystalOptions(Message):
    """Options of a crystal request."""

    prototype_share: float = Field(0.5, ge=0, le=1, description="share of attempts made from prototypes; the others are random")
    prototypes: tuple[str, ...] = Field((), description="AFLOW labels, Strukturbericht or mineral names to choose from; all if empty")
    space_groups: tuple[SpaceGroup, ...] = Field((), description="numbers of the space groups of random crystals; all 230 if empty")
    min_elements: StrictInt = Field(1, ge=1, le=MOST_ELEMENTS, description="fewest elements in a crystal")
    max_elements: StrictInt = Field(MOST_ELEMENTS, ge=1, le=MOST_ELEMENTS, description="most elements in a crystal")
    element_weights: dict[Element, Annotated[float, Field(ge=1e-6, le=1000)]] = Field(
        {}, description="how often an element is chosen relative to the others, 1 if absent"
    )
    largest_random_cell: StrictInt = Field(24, ge=MOST_ELEMENTS, le=100, description="most atoms in the primitive cell of a random crystal")
    volume_scale: tuple[Annotated[float, Field(gt=0.5, lt=2)], Annotated[float, Field(gt=0.5, lt=2)]] = Field(
        (0.95, 1.15), description="range of the volume relative to the estimated one"
    )

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        if self.min_elements > self.max_elements:
            raise ValueError(f"min_elements must not exceed max_elements, got {self.min_elements} and {self.max_elements}")
        if self.volume_scale[0] > self.volume_scale[1]:
            raise ValueError(f"volume_scale must be (low, high), got {self.volume_scale}")
        return self
