"""The recipe: the YAML file that decides a dataset."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from pydantic import Field, StrictInt, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from distillery.errors import InvalidRequest
from distillery.recipe.digest import digest_recipe
from distillery.recipe.labels import Labels
from distillery.recipe.shares import apportion, rescale
from distillery.recipe.source import LARGEST_COUNT, Source, SourceName
from distillery.recipe.stages import CHECKPOINT_EVERY as CHECKPOINT_EVERY
from distillery.recipe.stages import GateRule, Stages
from distillery.runtime.yaml import Location
from distillery.schema.base import Elements, Message, Name, Number
from distillery.schema.explain import suggest
from distillery.schema.generate import Perturb
from distillery.schema.label import ALWAYS, Hessians, LabelLimits
from distillery.schema.report import GateName as GateName
from distillery.schema.report import StageName as StageName
from distillery.schema.sample import Sample
from distillery.schema.teacher_name import TeacherName
from distillery.structures.elements import DEFAULT_ELEMENTS


class GrowthStep(Message):
    """A recipe that a dataset was made from before it was given more: its parts stay."""

    recipe: dict[str, Any] = Field(description="the recipe's keys, without its own history")
    until: StageName = Field(description="how far it was made")
    without: tuple[SourceName, ...] = Field((), description="sources of it that had no part when the next recipe came")


@dataclass(frozen=True)
class Step:
    """A growth step with its recipe read."""

    recipe: "Recipe"
    until: StageName
    without: frozenset[str]


class Recipe(Message):
    """What a dataset is made from; see recipes/quickstart.yaml for one with comments."""

    name: Name = Field(description="names the dataset and its folder")
    seed: StrictInt = Field(ge=0, lt=2**63, description="another seed, another dataset")
    total: StrictInt | None = Field(None, ge=1, le=LARGEST_COUNT, description="number of structures; the sum of the counts if absent")
    elements: Elements = Field(DEFAULT_ELEMENTS, description="the elements that may occur")
    teacher: TeacherName = Field(description="the model that labels: 7net-0, orb-v2, chgnet, gfn2-xtb, ase:module:factory(option=value), …")
    shard_size: StrictInt = Field(
        200, ge=1, le=1000, description="structures asked of a service at once; a kill loses at most the shards in work"
    )
    perturb: Perturb = Field(Perturb(), description="how far structures are moved off equilibrium")
    sample: Sample | None = Field(None, description="what the teacher makes of each structure before it is labelled; nothing if absent")
    labels: Labels = Field(
        ALWAYS, description="what the teacher says of every structure: energy, forces, stress, and atomic_energies if named"
    )
    hessian: Hessians | None = Field(None, description="which structures get a Hessian, where labels name it; up to 12 atoms if absent")
    limits: LabelLimits = Field(LabelLimits(), description="bounds of sound labels: what lies beyond is left out and asked for again")
    sources: dict[SourceName, Source] = Field(min_length=1, description="what the dataset is made of, each under a name of your choice")
    generative_fraction: Number | None = Field(None, ge=0, le=1, description="rescales generative sources against traditional ones")
    stages: Stages | None = Field(None, description="pilot, test, full; without them all is made at once")
    rebalance: tuple[Number, ...] = Field(
        (), max_length=100, description="generative fractions to try in turn where a stage's gates are not passed"
    )
    gates: dict[GateName, GateRule] = Field({}, description="changes to the gates, in all stages")
    grown_from: tuple[GrowthStep, ...] = Field((), max_length=100, description="written by Distillery: what the dataset grew from")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        for find in (
            _find_label_faults,
            _find_source_faults,
            _find_count_faults,
            _find_fraction_faults,
            _find_stage_faults,
            _find_growth_faults,
        ):
            if faults := [_locate(at, message) for at, message in find(self)]:
                raise ValidationError.from_exception_data("Recipe", faults)
        return self

    @property
    def size(self) -> int:
        """Structures that all sources owe together."""
        return self.total or sum(source.count or 0 for source in self.sources.values())

    def find_sample(self, source: str) -> Sample | None:
        """The `sample` of a source: its own, or else the recipe's."""
        return self.sources[source].sample or self.sample

    def find_limits(self, source: str) -> LabelLimits:
        """The bounds of a source's labels."""
        return self.sources[source].limits or self.limits

    @property
    def hessians(self) -> Hessians | None:
        """Which structures get a Hessian; None if none is wanted."""
        return (self.hessian or Hessians()) if "hessian" in self.labels else None

    @property
    def fractions(self) -> tuple[float | None, ...]:
        """The generative fractions to try in turn; None is what the counts themselves give."""
        return (self.generative_fraction, *self.rebalance)

    @property
    def stage_names(self) -> tuple[StageName, ...]:
        """The stages in order; the last is always full."""
        optional: tuple[StageName, ...] = ("pilot", "test")
        return (*(name for name in optional if self.stages and getattr(self.stages, name)), "full")

    def stages_until(self, last: StageName) -> tuple[StageName, ...]:
        """The stages in order up to `last`; InvalidRequest if the recipe has no such stage."""
        if last not in self.stage_names:
            raise InvalidRequest(f"{self.name} has no stage {last}; its stages are {', '.join(self.stage_names)}")
        return self.stage_names[: self.stage_names.index(last) + 1]

    def counts(self, attempt: int = 0) -> dict[str, int]:
        """How many structures every source owes by `fractions[attempt]`; they add up to the total."""
        return apportion(self.size, self._weights(attempt))

    @cached_property
    def most_owed(self) -> dict[str, int]:
        """The most that every source may come to owe, by whichever of `fractions`; asked for once a source, so it is kept."""
        counts = [self.counts(attempt) for attempt in range(len(self.fractions))]
        return {name: max(count[name] for count in counts) for name in self.sources}

    def stage_counts(self, stage: StageName, attempt: int = 0) -> dict[str, int]:
        """How many structures of every source there are at the end of a stage, those of earlier stages among them."""
        owed = self.counts(attempt)
        if stage == "pilot" and self.stages and self.stages.pilot:
            return {name: min(count, self.stages.pilot.per_source) for name, count in owed.items()}
        if stage == "test" and self.stages and self.stages.test:
            return apportion(self.stages.test.total, self._weights(attempt))
        return owed

    def gate_changes(self, stage: StageName) -> tuple[dict[GateName, GateRule], ...]:
        """The changes to gates that hold in a stage, the more particular last."""
        own = getattr(self.stages, stage) if self.stages else None
        return (self.gates, own.gates) if own else (self.gates,)

    def _weights(self, attempt: int) -> dict[str, float]:
        weights = {name: float(source.share or source.count or 0) for name, source in self.sources.items()}
        fraction = self.fractions[attempt]
        return weights if fraction is None else rescale(weights, {n: s.generative for n, s in self.sources.items()}, fraction)

    @property
    def sha256(self) -> str:
        """Of everything that decides which structures come out."""
        return self._digest([[step.recipe.sha256, step.until, sorted(step.without)] for step in self.steps])

    @property
    def known_sha256(self) -> frozenset[str]:
        """Those that parts of the dataset may have been made with: its own, and those of what it grew from."""
        return frozenset({self.sha256, *(step.recipe.sha256 for step in self.steps)})

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """What the dataset grew from, in order; each step's recipe has those before it for its history."""
        return tuple(
            Step(Recipe.model_validate({**step.recipe, "grown_from": self.grown_from[:k]}), step.until, frozenset(step.without))
            for k, step in enumerate(self.grown_from)
        )

    def at(self, step: int) -> "Recipe":
        """The recipe of a step; behind the last one it is this recipe."""
        return self if step == len(self.steps) else self.steps[step].recipe

    def is_same_as(self, other: Self) -> bool:
        """True if both ask for the same, whatever they grew from."""
        return self._digest([]) == other._digest([])

    def _digest(self, history: Sequence[Any]) -> str:
        content = self.model_dump(mode="json", exclude={"grown_from"})
        return digest_recipe(content, history, gates_decide=bool(self.rebalance))


def _locate(at: Location, message: str) -> InitErrorDetails:
    """A disagreement between several keys, placed at the one to change."""
    return {"type": PydanticCustomError("disagreement", "{message}", {"message": message}), "loc": at, "input": {}}


def _find_label_faults(recipe: Recipe) -> Iterator[tuple[Location, str]]:
    if recipe.hessian is not None and "hessian" not in recipe.labels:
        yield ("hessian",), "says how Hessians are made, and labels do not name hessian; add it there, or leave this out"


def _find_source_faults(recipe: Recipe) -> Iterator[tuple[Location, str]]:
    for name, source in recipe.sources.items():
        foreign = set(source.elements or ()) - set(recipe.elements)
        if foreign:
            yield ("sources", name, "elements"), f"must be among the recipe's elements; {' '.join(sorted(foreign))} not there"
        if source.fallback is not None and (fault := _explain_fallback(recipe, name, source, source.fallback)):
            yield ("sources", name, "fallback"), fault


def _explain_fallback(recipe: Recipe, name: str, source: Source, fallback: str) -> str | None:
    others = set(recipe.sources) - {name}
    if fallback not in others:
        return f"must be another source, got {fallback!r}{suggest(fallback, others)}"
    makes = recipe.sources[fallback].system
    return None if makes == source.system else f"must make a {source.system}, {fallback!r} makes a {makes}"


def _find_count_faults(recipe: Recipe) -> Iterator[tuple[Location, str]]:
    counts, shares = ([getattr(source, key) for source in recipe.sources.values()] for key in ("count", "share"))
    if None not in counts:
        if recipe.total not in {None, sum(counts)}:
            yield ("total",), f"is {recipe.total}, but the counts of the sources add up to {sum(counts)}"
    elif None in shares:
        yield ("sources",), "give every source a count or every source a share, not some of each"
    elif recipe.total is None:
        yield ("sources",), "shares need the recipe's total"
    elif abs(sum(shares) - 1) > 1e-6:
        yield ("sources",), f"the shares must add up to 1, got {sum(shares):.9g}"


def _find_fraction_faults(recipe: Recipe) -> Iterator[tuple[Location, str]]:
    is_generative = {source.generative for source in recipe.sources.values()}
    for key, given in (("generative_fraction", recipe.generative_fraction is not None), ("rebalance", bool(recipe.rebalance))):
        if given and len(is_generative) < 2:
            yield (key,), "needs both generative sources (generative: true) and others"
            return
    now = recipe.generative_fraction
    if now is None:
        now = sum(count for name, count in recipe.counts().items() if recipe.sources[name].generative) / recipe.size
    for k, fraction in enumerate(recipe.rebalance):
        if not 0 <= fraction < now:
            yield ("rebalance", k), f"every fraction must be below the one before and at least 0; {fraction:g} comes after {now:g}"
        now = fraction


def _find_stage_faults(recipe: Recipe) -> Iterator[tuple[Location, str]]:
    test = recipe.stages and recipe.stages.test
    if not test:
        return
    piloted = sum(recipe.stage_counts("pilot").values()) if "pilot" in recipe.stage_names else 0
    if not piloted <= test.total < recipe.size:
        least = f"at least the {piloted} of the pilot and " if piloted else ""
        yield ("stages", "test", "total"), f"must be {least}below the {recipe.size} of the whole, got {test.total}"


def _find_growth_faults(recipe: Recipe) -> Iterator[tuple[Location, str]]:
    for k, step in enumerate(recipe.grown_from):
        try:
            sources = set(Recipe.model_validate(step.recipe).sources) - set(step.without)
        except ValidationError as error:
            yield ("grown_from", k, "recipe"), f"is no recipe: {error.errors()[0]['msg']}"
            return
        if foreign := sources - set(recipe.sources):
            yield ("grown_from", k, "recipe"), f"has the sources {', '.join(sorted(foreign))}, which are gone"
