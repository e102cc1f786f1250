"""Sampling: what the teacher makes of each proposal before it is labelled, as a recipe's `sample` says."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, StrictBool, StrictInt, model_validator

from distillery.schema.base import Message, Number


def _is_a_range(span: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= span[0] <= span[1]:
        raise ValueError("give [smallest, largest], neither below 0")
    return span


Range = Annotated[tuple[Number, Number], AfterValidator(_is_a_range)]


def _write_range(span: tuple[float, float]) -> str:
    return f"{span[0]:g}" if span[0] == span[1] else f"{span[0]:g}-{span[1]:g}"


class Relax(Message):
    """Some steps of FIRE downhill: out of the worst strain, not to the minimum."""

    steps: StrictInt = Field(5, ge=1, le=1000, description="of FIRE; each costs a label of every structure that has not converged")
    until: Number = Field(0.05, ge=0, description="largest force at which a structure has converged, eV/Å")
    cell: StrictBool = Field(False, description="move the cell by its stress too; a slab's in its plane")
    every: StrictInt | None = Field(
        None,
        ge=1,
        exclude_if=lambda every: every is None,  # recipes that do not say so keep their identity
        description="steps between frames of the way down, its start among them; none are kept without",
    )
    after: StrictBool = Field(
        False,
        exclude_if=lambda after: not after,  # recipes that do not say so keep their identity
        description="after strain and rattle in place of before them",
    )


class Rattle(Message):
    """Displacements of all atoms, by heat or of one width."""

    temperature: Range | None = Field(None, description="K, drawn evenly: small along stiff bonds, large where nothing holds")
    width: Range | None = Field(None, description="standard deviation of Gaussian displacements, Å, drawn evenly")

    @model_validator(mode="after")
    def _be_one(self) -> Self:
        if (self.temperature is None) == (self.width is None):
            raise ValueError("give either temperature: [300, 1000] (K) or width: [0.03, 0.08] (Å)")
        return self

    def describe(self) -> str:
        """For example `displaced as by heat of 150-450 K`."""
        if self.temperature is not None:
            return f"displaced as by heat of {_write_range(self.temperature)} K"
        return f"displaced by {_write_range(self.width or (0.0, 0.0))} Å"


class MolecularDynamics(Message):
    """A short run of Langevin dynamics."""

    temperature: Range = Field((300.0, 300.0), description="K, drawn evenly")
    steps: StrictInt = Field(40, ge=1, le=100_000, description="each costs a label")
    every: StrictInt = Field(20, ge=1, description="steps between frames")
    timestep: Number = Field(1.0, gt=0, le=10, description="fs")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.every > self.steps:
            raise ValueError(f"every ({self.every}) must not exceed steps ({self.steps}): no frame would be kept")
        return self


class Sample(Message):
    """What the labeller makes of a proposal, in this order: relaxed, strained, displaced (or relaxed after both), moved.

    A recipe's counts are frames.
    """

    relax: Relax | None = Field(None, description="steps downhill")
    strain: Number = Field(0.0, ge=0, le=0.5, description="largest component of a random strain; periodic only, of slabs in their plane")
    rattle: Rattle | None = Field(None, description="displacements of all atoms, by heat or of one width")
    md: MolecularDynamics | None = Field(None, description="a short run of molecular dynamics")
    keep: StrictInt = Field(1, ge=1, le=1000, description="frames of each proposal, the last ones")

    @property
    def keeps_first(self) -> bool:
        """Whether the structure that was relaxed and is then displaced, or the other way round, may be a frame of its own in between."""
        is_moved = self.strain > 0 or self.rattle is not None or self.md is not None
        return self.relax is not None and self.relax.every is None and self.keep > 1 and is_moved

    @property
    def n_on_the_way(self) -> int:
        """Frames of the way down."""
        return 0 if self.relax is None or self.relax.every is None else -(-self.relax.steps // self.relax.every)

    @property
    def most_frames(self) -> int:
        """Frames that a proposal can give: those of the way down, the relaxed one, the displaced one or those of the dynamics."""
        return self.n_on_the_way + int(self.keeps_first) + (1 if self.md is None else self.md.steps // self.md.every)

    @property
    def n_calls(self) -> int:
        """Labels that a proposal costs at most."""
        moved = 1 if self.md is None else self.md.steps
        return (self.relax.steps if self.relax else 0) + moved + int(self.keeps_first)

    @model_validator(mode="after")
    def _gives_frames(self) -> Self:
        if self.keep > self.most_frames:
            raise ValueError(
                f"keep is {self.keep}, but a proposal gives {self.most_frames} frames; keep fewer, or take more of the dynamics"
            )
        return self

    def describe(self) -> str:
        """For a person, in its order: `2 steps of relaxation, displaced as by heat of 150-450 K; 3 structures of each proposal`."""
        relaxed = [] if self.relax is None else [f"{self.relax.steps} steps of relaxation{', cell too' if self.relax.cell else ''}"]
        moved = [f"strained by up to {self.strain:g}"] if self.strain else []
        moved += [self.rattle.describe()] if self.rattle else []
        steps = moved + relaxed if self.relax is not None and self.relax.after else relaxed + moved
        if self.md is not None:
            steps.append(f"{self.md.steps * self.md.timestep:g} fs of dynamics at {_write_range(self.md.temperature)} K")
        return f"{', '.join(steps) or 'as it came'}; {self.keep} structure{'s' if self.keep > 1 else ''} of each proposal"

    @property
    def is_reproducible(self) -> bool:
        """Whether frames come out again to a tolerance: short relaxations do, dynamics only in distribution."""
        return self.md is None and (self.relax is None or self.relax.steps <= 20)
