"""Options of a MatterGen request."""

from collections.abc import Mapping
from typing import Self

from ase.data import atomic_numbers
from pydantic import Field, StrictFloat, StrictInt, StrictStr, model_validator

from distillery.schema.base import Message

CHEMICAL_SYSTEM = "chemical_system"
SPACE_GROUP = "space_group"
N_SPACE_GROUPS = 230


class MatterGenOptions(Message):
    """Options of a MatterGen request."""

    checkpoint: StrictStr | None = Field(None, description="refuse unless this checkpoint is the one that the service has loaded")
    properties: dict[StrictStr, StrictInt | StrictFloat | StrictStr] = Field(
        {}, description="what to condition on, as {'chemical_system': 'Li-O'}; only properties that the checkpoint was trained on"
    )
    guidance: float = Field(2.0, description="strength of the condition, greater than 0; only with properties")

    @model_validator(mode="after")
    def _check_guidance(self) -> Self:
        if self.properties and self.guidance <= 0:
            raise ValueError(f"guidance must be greater than 0, or the model ignores {', '.join(self.properties)}; got {self.guidance}")
        if not self.properties and "guidance" in self.model_fields_set:
            raise ValueError("guidance without properties has no effect; name properties or leave it out")
        return self

    @model_validator(mode="after")
    def _check_values(self) -> Self:
        for name, value in self.properties.items():
            if name == CHEMICAL_SYSTEM:
                _check_chemical_system(value)
            elif isinstance(value, str):
                raise ValueError(f"{name} must be a number, got {value!r}")
            elif name == SPACE_GROUP and value not in range(1, N_SPACE_GROUPS + 1):
                raise ValueError(f"{SPACE_GROUP} must be a number of 1-{N_SPACE_GROUPS}, got {value}")
        return self


def elements_of(properties: Mapping[str, object]) -> tuple[str, ...]:
    """The elements of the chemical system conditioned on; empty if there is none."""
    return tuple(str(properties[CHEMICAL_SYSTEM]).split("-")) if CHEMICAL_SYSTEM in properties else ()


def _check_chemical_system(value: object) -> None:
    parts = value.split("-") if isinstance(value, str) else []
    if not parts or any(part not in atomic_numbers or part == "X" for part in parts) or len(set(parts)) < len(parts):
        raise ValueError(f"{CHEMICAL_SYSTEM} must be different chemical symbols joined by -, as Li-O; got {value!r}")
