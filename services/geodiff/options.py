"""The options of a request."""

from typing import Annotated

from pydantic import Field, StrictBool, StrictInt, StrictStr

from distillery.schema.base import Message


class GeoDiffOptions(Message):
    """Options of a molecule request."""

    smiles: tuple[Annotated[StrictStr, Field(max_length=2000)], ...] = Field(
        (), max_length=10_000, description="molecules to take, each as often as it needs; the service's pool if empty"
    )
    conformers: StrictInt = Field(1, ge=1, le=100, description="samples of one molecule in a row before the next is taken")
    w_global: float | None = Field(
        None,
        ge=0,
        le=10,
        description="weight of the forces between atoms that are not bonded; by default 0.3 for QM9, 1.0 else, as upstream",
    )
    relax_hydrogens: StrictBool = Field(True, description="move hydrogens to MMFF94's nearest minimum; heavy atoms stay where they are")
