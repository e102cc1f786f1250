"""Options of all four systems: which files, how often each row, whose they are."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictBool, StrictInt, StrictStr

from distillery.schema.base import Sha256
from distillery.schema.generate import ChargeOptions


def _all_different(files: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(files))


class FileOptions(ChargeOptions):
    """Options of every system."""

    files: Annotated[tuple[StrictStr, ...], Field(min_length=1, max_length=1000), AfterValidator(_all_different)] = Field(
        (".",), description="files, folders (all that is below them) and patterns (*, ?, **) below the folder DISTILLERY_SERVICE_INPUTS"
    )
    sort: StrictBool = Field(
        False,
        description="only rows that look like this system: one bonded piece is a molecule, several are a cluster; what has 15 Å of vacuum "
        "along c is a surface, else it is a crystal",
    )
    charges: StrictBool = Field(
        False,
        description="take rows with a charge, or more than the lowest spin; else they are refused. Only for teachers that know of charge",
    )
    copies: StrictInt = Field(1, ge=1, le=1000, description="how often every row may be taken; only perturbed or sampled ones differ")
    repeat: StrictBool = Field(False, description="repeat crystals that are smaller than the least of `atoms` until they are as large")
    parents: Literal["composition", "row", "file", "kept"] = Field(
        "composition",
        description="what has to be on one side of a split: all of a composition, the copies of a row, or a whole file; kept: what a "
        "dataset says of its own rows, a composition where a file says nothing",
    )
    licence: StrictStr = Field("", max_length=200, description="of the files; kept with every structure")
    sha256: Sha256 | None = Field(None, description="of all files together, as `distillery label` writes it: others are refused")

    @property
    def may_be_charged(self) -> bool:
        """See `ChargeOptions`."""
        return self.charges
