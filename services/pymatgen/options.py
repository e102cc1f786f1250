"""Options of a crystal request."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, StrictBool, StrictInt, model_validator

from distillery.schema.base import Element, Message
from services.pymatgen.symmetric import N_SPACE_GROUPS

MOST_ELEMENTS = 5
"""As many as the library's richest prototype has."""

SpaceGroup = Annotated[StrictInt, Field(ge=1, le=N_SPACE_GROUPS)]
Kind = Literal["real", "decorated", "symmetric"]
Defect = Literal["vacancy", "interstitial", "substitution"]
DEFAULT_KINDS: Mapping[Kind, float] = {"real": 0.75, "decorated": 0.2, "symmetric": 0.05}
_LEAST_SHARE = 1e-6


class CrystalOptions(Message):
    """Options of a crystal request."""

    kinds: dict[Kind, Annotated[float, Field(ge=0, le=1000)]] | None = Field(
        None,
        description="shares of real compounds, decorated prototypes and symmetric random crystals; "
        "0.75, 0.2 and 0.05, as far as the elements allow, if absent",
    )
    prototypes: tuple[str, ...] = Field(
        (),
        description="AFLOW labels, Strukturbericht or common names that real and decorated crystals are chosen from; all if empty",
    )
    high_pressure: StrictBool = Field(False, description="real compounds far from normal pressure too (gamma nitrogen)")
    charge_balanced: StrictBool = Field(
        True, description="decorated prototypes only where oxidation states add up to 0 with anions more electronegative than cations"
    )
    defects: dict[Defect, Annotated[float, Field(ge=0, le=1)]] = Field(
        {}, description="shares of the crystals that have a vacancy, an interstitial or a substituted atom"
    )
    space_groups: tuple[SpaceGroup, ...] = Field((), description="numbers of the space groups of random crystals; all 230 if empty")
    min_elements: StrictInt = Field(1, ge=1, le=MOST_ELEMENTS, description="fewest elements in a crystal")
    max_elements: StrictInt = Field(MOST_ELEMENTS, ge=1, le=MOST_ELEMENTS, description="most elements in a crystal")
    element_weights: dict[Element, Annotated[float, Field(ge=1e-6, le=1000)]] = Field(
        {}, description="how often an element is chosen relative to the others, 1 if absent"
    )
    largest_random_cell: StrictInt = Field(24, ge=MOST_ELEMENTS, le=100, description="most atoms in the primitive cell of a random crystal")
    volume_scale: tuple[Annotated[float, Field(gt=0.5, lt=2)], Annotated[float, Field(gt=0.5, lt=2)]] = Field(
        (0.95, 1.15), description="range of the volume relative to the estimated one; real compounds keep the measured one"
    )

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        if self.min_elements > self.max_elements:
            raise ValueError(f"min_elements must not exceed max_elements, got {self.min_elements} and {self.max_elements}")
        if self.volume_scale[0] > self.volume_scale[1]:
            raise ValueError(f"volume_scale must be (low, high), got {self.volume_scale}")
        if self.kinds is not None and max(self.kinds.values(), default=0.0) < _LEAST_SHARE:
            raise ValueError(f"kinds: at least one share must be above 0, at least {_LEAST_SHARE}")
        return self
