"""The stages of a recipe and the changes to their gates."""

from pydantic import Field, StrictBool, StrictInt

from distillery.recipe.source import LARGEST_COUNT
from distillery.schema.base import Message, Number
from distillery.schema.report import GateName

CHECKPOINT_EVERY = 10_000
"""A dataset in stages is judged at least so often, in structures."""
LARGEST_WAVE = 40_000


class GateRule(Message):
    """A change to one gate."""

    threshold: Number | None = Field(None, description="what the value is compared with; docs/gates.md has the sign and the default")
    required: StrictBool | None = Field(None, description="false: a dataset that does not reach it may be GO all the same")


class PilotStage(Message):
    """A first look: the same few structures of every source."""

    per_source: StrictInt = Field(10, ge=1, le=LARGEST_COUNT, description="structures of every source; all of a source that owes fewer")
    gates: dict[GateName, GateRule] = Field({}, description="changes to the gates in this stage")


class TestStage(Message):
    """A small version of the dataset, to decide whether the whole is worth making."""

    total: StrictInt = Field(ge=1, le=LARGEST_COUNT, description="structures in the dataset at its end, the pilot's among them")
    gates: dict[GateName, GateRule] = Field({}, description="changes to the gates in this stage")


class FullStage(Message):
    """All structures of the recipe."""

    wave: StrictInt = Field(CHECKPOINT_EVERY, ge=1, le=LARGEST_WAVE, description="structures in a wave; every wave has all sources' shares")
    gates: dict[GateName, GateRule] = Field({}, description="changes to the gates in this stage")


class Stages(Message):
    """The stages of a dataset. Each counts on from the one before and begins when that one's gates are passed."""

    pilot: PilotStage | None = Field(None, description="a first look: the same few structures of every source")
    test: TestStage | None = Field(None, description="a small version of the dataset")
    full: FullStage = Field(FullStage(), description="all structures of the recipe, in waves")
