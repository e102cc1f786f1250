"""What disagreement.json holds: how far a teacher's labels are from those that the same structures had before."""

from typing import Any

from pydantic import Field

from distillery.schema.base import Count
from distillery.schema.problem import Answer


class SourceDisagreement(Answer):
    """Of the structures of one source. Energies are compared once one energy an element, fitted on the differences, is taken off."""

    n_structures: Count
    energy: float = Field(description="mean absolute difference, meV/atom")
    energy_rms: float = Field(description="root mean square, meV/atom")
    energy_worst: float = Field(description="largest, meV/atom")
    energy_worst_id: str
    forces: float = Field(description="mean absolute difference of the components, meV/Å")
    forces_rms: float = Field(description="root mean square, meV/Å")
    forces_size: float = Field(description="mean absolute component before, meV/Å")
    pressure: float | None = Field(description="mean absolute difference, GPa; null where not both have a stress")


class Parity(Answer):
    """Some pairs of values for a picture: before, after, and the number of the source."""

    before: list[float]
    after: list[float]
    source: list[Count]


class Disagreement(Answer):
    """The content of disagreement.json."""

    structures_sha256: str = Field(description="of the dataset's structures")
    before: str = Field(description="who made the labels of before")
    after: str = Field(description="who made the dataset's")
    n_moved: Count = Field(description="structures that are not compared: they were displaced, or had no labels before")
    sources: dict[str, SourceDisagreement] = Field(description="by the source that a structure had in the dataset of before")
    energies: Parity = Field(description="eV/atom, each after a fit of one energy an element")
    forces: Parity = Field(description="components, eV/Å")

    def as_json(self) -> dict[str, Any]:
        """What is written."""
        return self.model_dump(mode="json")
