"""What rounds.json holds: how far a student was from its teacher on the frames that it came to by itself, round by round."""

from pydantic import Field

from distillery.schema.base import Count
from distillery.schema.problem import Answer


class RoundErrors(Answer):
    """Of the frames of a round that started from one source: the student against the teacher."""

    n_frames: Count
    forces: float = Field(description="mean absolute error of the components, meV/Å")
    forces_size: float = Field(description="mean absolute component by the student, meV/Å")
    energy: float = Field(description="mean absolute error after a fit of one energy an element, meV/atom")


class GrowthRound(Answer):
    """A round: dynamics of the student, frames of it labelled by the teacher."""

    round: Count
    student: str
    n_structures: Count = Field(description="of the dataset that the round began with")
    random_forces: float | None = Field(
        None, description="mean absolute error on those of its frames that were chosen at random, meV/Å; null without any"
    )
    held_forces: float | None = Field(
        None,
        description="mean absolute error on validation and test side of the first dataset, the same in every round, meV/Å; "
        "null where it labels none of them",
    )
    n_trajectories: Count
    n_sound: Count = Field(description="those that were sound to their end")
    faults: dict[str, Count] = Field(description="the others, by what went wrong")
    n_candidates: Count = Field(description="frames to choose from")
    n_new: Count = Field(description="those of them with an environment that the dataset does not know")
    n_labelled: Count = Field(description="frames that the teacher labelled; all of them are in the new dataset, but for duplicates")
    sources: dict[str, RoundErrors]


class Growth(Answer):
    """The content of rounds.json."""

    request: dict[str, str] = Field(description="what was asked for")
    rounds: list[GrowthRound]
