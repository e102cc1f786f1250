"""The target: the stage to stop after and whether to run or pause, kept beside the recipe so that a restart knows it."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Self

from pydantic import ValidationError, model_validator

from distillery.dataset.folder import TARGET, split_part_name
from distillery.errors import Conflict, Internal
from distillery.recipe.recipe import Recipe, StageName
from distillery.runtime.small_files import read_small
from distillery.schema.base import Message

Wanted = Literal["running", "paused", "cancelled"]


class Target(Message):
    """What is wanted.

    until  the stage to stop after; the recipe's last if absent
    stage  the only stage to make, those before it being there; excludes `until`
    """

    wanted: Wanted = "running"
    until: StageName | None = None
    stage: StageName | None = None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.until is not None and self.stage is not None:
            raise ValueError("give either until (make everything up to that stage) or stage (make that stage alone), not both")
        return self

    @property
    def last(self) -> StageName:
        """The stage the dataset ends with."""
        return self.until or self.stage or "full"

    def as_text(self) -> str:
        """What `read_target` reads."""
        return json.dumps(self.model_dump(exclude_none=True))

    def refuse_cutting_back(self, recipe: Recipe, parts: Iterable[str]) -> None:
        """Conflict if parts of a stage are there that the dataset would end before."""
        later = set(recipe.stage_names) - set(recipe.stages_until(self.last))
        begun = {split_part_name(part)[0] for part in parts}
        if found := [stage for stage in recipe.stage_names if stage in later & begun]:
            raise Conflict(
                f"{recipe.name!r} has parts of stage {found[-1]} already: ending it with stage {self.last} would cut its dataset back; "
                f"make it to the end, or move those parts away"
            )


def read_target(folder: Path) -> Target:
    """The target beside a recipe; that all be made if there is none yet."""
    try:
        return Target.model_validate(json.loads(read_small(folder / TARGET)))
    except FileNotFoundError:
        return Target()
    except (OSError, ValueError, RecursionError, ValidationError) as error:
        raise Internal(f"{folder / TARGET} can't be read: {error}; remove it, then resume") from error
