"""The options of a request."""

from typing import Annotated, Self

from pydantic import Field, StrictBool, StrictInt, model_validator

from distillery.schema.generate import ChargeOptions

LEAST_HEAVY, MOST_HEAVY = 2, 150
"""Heavy atoms of one molecule; upstream's sampler fails on a single one."""
Heavy = Annotated[StrictInt, Field(ge=LEAST_HEAVY, le=MOST_HEAVY)]


class MolDiffOptions(ChargeOptions):
    """Options of a molecule request."""

    bond_guidance: StrictBool | None = Field(
        None,
        description="move atoms to where the bond predictor is sure of the bonds, at about three times the cost; if absent, wherever "
        "the checkpoint brings a predictor, as upstream does",
    )
    guidance_scale: float = Field(1e-4, gt=0, le=1, description="strength of the guidance; upstream's value by default")
    min_heavy_atoms: Heavy | None = Field(None, description="fewest atoms other than H; by default what min_atoms and max_atoms suggest")
    max_heavy_atoms: Heavy | None = Field(None, description="most atoms other than H; by default what min_atoms and max_atoms suggest")
    allow_charged: StrictBool = Field(False, description="keep ions; only for teachers that know of charge")

    @property
    def may_be_charged(self) -> bool:
        """See `ChargeOptions`."""
        return self.allow_charged

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        low, high = self.heavy_range
        if low > high:
            raise ValueError(f"min_heavy_atoms must not exceed max_heavy_atoms, got {low} and {high}")
        return self

    @property
    def heavy_range(self) -> tuple[int, int]:
        """Fewest and most heavy atoms."""
        low = LEAST_HEAVY if self.min_heavy_atoms is None else self.min_heavy_atoms
        return low, MOST_HEAVY if self.max_heavy_atoms is None else self.max_heavy_atoms
