"""What assess.json holds: how well a small student learns from a dataset."""

from typing import Any

from pydantic import Field

from distillery.schema.base import Count
from distillery.schema.problem import Answer


class Errors(Answer):
    """Mean absolute errors of a student on a group of structures."""

    n_structures: Count
    forces: float = Field(description="of the components, meV/Å")
    zero_forces: float = Field(description="the same of a student that predicts no force, meV/Å")
    energy: float = Field(description="meV/atom")


class CurvePoint(Answer):
    """A student of a share of the training side, asked about what it has not seen."""

    share: float = Field(description="of the structures of every source on the training side")
    n_structures: Count
    n_atoms: Count
    seconds: float = Field(description="of training, on the processor")
    passes: float | None = Field(None, description="how often the student saw each structure in training; null if it was not counted")
    source: dict[str, Errors] = Field(description="the dataset's own validation and test sides, by source")
    system: dict[str, Errors] = Field(description="the same, by system")
    family: dict[str, Errors] = Field(description="the probe set: real molecules, crystals and slabs, moved by the teacher")
    unseen: dict[str, Errors] = Field(description="those of the probe set whose composition the training side has not")


class Dynamics(Answer):
    """How long the student's dynamics stay sound, of the probe set's structures."""

    n_structures: Count
    n_sound: Count = Field(description="trajectories that were sound to their end")
    femtoseconds: float = Field(description="until the first fault, median; the whole length where there is none")
    length: float = Field(description="fs")
    faults: dict[str, int] = Field(description="trajectories by what went wrong")


class Need(Answer):
    """What more structures of a family would bring."""

    share: float = Field(description="of the errors of forces of all families, 0 to 1")
    slope: float | None = Field(description="of the error against the number of structures, both as logarithms; null with one share")


class Assessment(Answer):
    """The content of assess.json."""

    dataset: str
    structures_sha256: str = Field(description="of the dataset's structures")
    teacher: str = Field(description="its name and version")
    student: str = Field(description="`package==version`")
    seed: Count
    steps: Count = Field(description="of training, the same for every share")
    n_left_out: Count = Field(description="structures that were not asked about: the smallest share lacks one of their elements")
    curve: list[CurvePoint] = Field(description="growing shares; each holds the one before")
    dynamics: dict[str, Dynamics] = Field(description="by family")
    needs: dict[str, Need] = Field(description="by family")
    verdict: str

    def as_json(self) -> dict[str, Any]:
        """What is written."""
        return self.model_dump(mode="json")
