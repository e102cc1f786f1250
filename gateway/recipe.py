"""The recipe: a few lines of YAML that a dataset is a pure function of."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, Field, StrictBool, StrictInt, StrictStr, ValidationError, model_validator

from contract.arrow import canonical_json
from contract.explain import explain, suggest
from contract.messages import Elements, Message, Name, Number, Perturb
from contract.problems import InvalidRequest
from contract.structures import DEFAULT_ELEMENTS, System
from gateway.lines import Location, read_lines

LARGEST_COUNT = 10_000_000
CHECKPOINT_EVERY = 10_000
"""A dataset in stages is judged at least so often, in structures."""
LARGEST_WAVE = 40_000


def _is_a_name(name: str) -> str:
    if name == "all":
        raise ValueError("gates say all of all sources together: give this one another name")
    try:
        float(name)
    except ValueError:
        if name not in {"true", "false"}:
            return name
    raise ValueError("ASE, which exports are read with, takes this for a number or truth value: give the source another name")


SourceName = Annotated[StrictStr, Field(pattern=r"^[a-z0-9][a-z0-9_]{0,39}$"), AfterValidator(_is_a_name)]


def _is_a_source(name: str) -> str:
    if name in {"labeller", "gateway"}:
        raise ValueError(f"{name} makes no structures")
    return name


ServiceName = Annotated[StrictStr, Field(pattern=r"^[a-z][a-z0-9-]{0,39}$"), AfterValidator(_is_a_source)]


class Source(Message):
    """One kind of structures and who makes them."""

    service: ServiceName = Field(description="the service that makes them")
    system: System = Field(description="molecule | crystal | cluster | surface")
    count: StrictInt | None = Field(None, ge=1, le=LARGEST_COUNT, description="how many; either count or share")
    share: Number | None = Field(None, gt=0, le=1, description="share of `total`; either count or share")
    atoms: tuple[StrictInt, StrictInt] | None = Field(
        None, description="smallest and largest number of atoms; the service's default if absent"
    )
    elements: Elements | None = Field(None, description="a subset of the recipe's; all of them if absent")
    options: dict[str, Any] = Field({}, description="the service's own; `distillery services` shows them")
    perturb: Perturb | None = Field(None, description="the recipe's if absent")
    fallback: SourceName | None = Field(None, description="the source that fills in when this one can't meet its count")
    attempts: Number = Field(3.0, ge=1, le=100, description="structures asked of it in all: at most this many times its count")
    generative: StrictBool = Field(False, description="counts as generative for `generative_fraction`")

    def budget(self, owed: int) -> int:
        """Structures that may be asked for where so many are owed: as many of itself, and as many again of its fallback."""
        return int(self.attempts * owed)


class GateRule(Message):
    """A change to one gate."""

    threshold: Number | None = None
    required: StrictBool | None = None


StageName = Literal["pilot", "test", "full"]
GateName = Literal[
    "completeness",
    "teacher_success",
    "element_entropy",
    "element_coverage",
    "distinct_sizes",
    "distinct_compositions",
    "duplicates",
    "generation_seconds",
    "mean_atoms",
    "size_variation",
    "system_balance",
    "bond_lengths",
    "energy_outliers",
    "largest_force",
]


class PilotStage(Message):
    """A first look: the same few structures of every source."""

    per_source: StrictInt = Field(10, ge=1, le=LARGEST_COUNT, description="structures of every source; of one that owes fewer, all it owes")
    gates: dict[GateName, GateRule] = Field({}, description="changes to the gates in this stage")


class TestStage(Message):
    """The dataset in small, for the decision whether the whole is worth making."""

    total: StrictInt = Field(ge=1, le=LARGEST_COUNT, description="structures in the dataset at its end, the pilot's among them")
    gates: dict[GateName, GateRule] = Field({}, description="changes to the gates in this stage")


class FullStage(Message):
    """All the structures that the sources owe."""

    wave: StrictInt = Field(
        CHECKPOINT_EVERY, ge=1, le=LARGEST_WAVE, description="structures asked for before the next are; every wave has all sources' shares"
    )
    gates: dict[GateName, GateRule] = Field({}, description="changes to the gates in this stage")


class Stages(Message):
    """The stages of a dataset. Each counts on from the one before and begins when that one's gates are passed."""

    pilot: PilotStage | None = None
    test: TestStage | None = None
    full: FullStage = FullStage()


class Recipe(Message):
    """What a dataset is made from; see recipes/quickstart.yaml for one with comments."""

    name: Name = Field(description="names the dataset and its folder")
    seed: StrictInt = Field(ge=0, lt=2**63, description="another seed, another dataset")
    total: StrictInt | None = Field(None, ge=1, le=LARGEST_COUNT, description="number of structures; the sum of the counts if absent")
    elements: Elements = DEFAULT_ELEMENTS
    teacher: StrictStr = Field(description="who labels: 7net-0, orb-v2, …")
    shard_size: StrictInt = Field(
        200, ge=1, le=1000, description="structures asked of a service at once; a kill loses at most the shards at hand"
    )
    perturb: Perturb = Perturb()
    sources: dict[SourceName, Source] = Field(min_length=1)
    generative_fraction: Number | None = Field(None, ge=0, le=1, description="rescales generative sources against traditional ones")
    stages: Stages | None = Field(None, description="pilot, test, full; without them all is made at once")
    rebalance: tuple[Number, ...] = Field((), description="generative fractions to try in turn where a stage's gates are not passed")
    gates: dict[GateName, GateRule] = Field({}, description="changes to the gates, in all stages")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        for name, source in self.sources.items():
            _check_source(self, name, source)
        uses_shares = {source.share is not None for source in self.sources.values()}
        if len(uses_shares) > 1:
            raise ValueError("give every source a count or every source a share, not some of each")
        if uses_shares == {True}:
            _check_shares(self)
        elif self.total is not None and self.total != (counted := sum(s.count or 0 for s in self.sources.values())):
            raise ValueError(f"total is {self.total}, but the counts of the sources add up to {counted}")
        if (self.generative_fraction is not None or self.rebalance) and len({s.generative for s in self.sources.values()}) < 2:
            raise ValueError("generative_fraction and rebalance need both generative sources (generative: true) and others")
        _check_rebalance(self)
        if self.stages and self.stages.test and self.stages.test.total >= self.size:
            raise ValueError(f"the test stage's total must be below the {self.size} of the whole, got {self.stages.test.total}")
        return self

    @property
    def size(self) -> int:
        """Structures that all sources owe together."""
        return self.total or sum(source.count or 0 for source in self.sources.values())

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

    @property
    def most_owed(self) -> dict[str, int]:
        """The most that every source may come to owe, by whichever of `fractions`."""
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
        return weights if fraction is None else _rescale(weights, {n: s.generative for n, s in self.sources.items()}, fraction)

    @property
    def sha256(self) -> str:
        """Of everything that decides which structures come out: gates only judge them, unless they may change the shares."""
        content = self.model_dump(mode="json")
        if not self.rebalance:
            del content["gates"], content["rebalance"]
            for stage in filter(None, (content["stages"] or {}).values()):
                del stage["gates"]
        if self.stages is None:
            del content["stages"]
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def _check_rebalance(recipe: Recipe) -> None:
    generative = {name for name, source in recipe.sources.items() if source.generative}
    now = recipe.generative_fraction
    if now is None:
        now = sum(count for name, count in recipe.counts().items() if name in generative) / recipe.size
    for fraction in recipe.rebalance:
        if not 0 <= fraction < now:
            raise ValueError(f"every fraction of rebalance must be below the one before and at least 0; {fraction:g} comes after {now:g}")
        now = fraction


def _check_source(recipe: Recipe, name: str, source: Source) -> None:
    try:
        canonical_json(source.options).encode()
    except (ValueError, TypeError) as error:
        raise ValueError(f"options of source {name!r} hold what JSON can't carry: {error}") from error
    if (source.count is None) == (source.share is None):
        raise ValueError(f"source {name!r} needs either count or share")
    if source.atoms is not None and not 1 <= source.atoms[0] <= source.atoms[1]:
        raise ValueError(f"atoms of source {name!r} must be [smallest, largest], got {list(source.atoms)}")
    foreign = set(source.elements or ()) - set(recipe.elements)
    if foreign:
        raise ValueError(f"elements of source {name!r} must be among the recipe's; {' '.join(sorted(foreign))} not there")
    if source.fallback is None:
        return
    others = set(recipe.sources) - {name}
    if source.fallback not in others:
        hint = suggest(source.fallback, others)
        raise ValueError(f"fallback of source {name!r} must be another source, got {source.fallback!r}{hint}")
    makes = recipe.sources[source.fallback].system
    if makes != source.system:
        raise ValueError(f"fallback of source {name!r} must make a {source.system}, {source.fallback!r} makes a {makes}")


def _check_shares(recipe: Recipe) -> None:
    if recipe.total is None:
        raise ValueError("shares need a total")
    summed = sum(source.share or 0 for source in recipe.sources.values())
    if abs(summed - 1) > 1e-6:
        raise ValueError(f"the shares of the sources must add up to 1, got {summed:g}")


def _rescale(weights: Mapping[str, float], generative: Mapping[str, bool], fraction: float) -> dict[str, float]:
    sums = {kind: sum(w for n, w in weights.items() if generative[n] == kind) for kind in (True, False)}
    return {n: w / sums[generative[n]] * (fraction if generative[n] else 1 - fraction) for n, w in weights.items()}


def apportion(total: int, weights: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers in proportion to `weights` that add up to `total` (largest remainders)."""
    exact = {name: total * weight / sum(weights.values()) for name, weight in weights.items()}
    counts = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (counts[name] - exact[name], list(exact).index(name)))
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def read_recipe(path: Path) -> tuple[Recipe, str]:
    """A recipe file and its text; InvalidRequest names file, line, key and the nearest valid one."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"can't read the recipe {path}: {error}") from error
    return parse_recipe(text, str(path)), text


def parse_recipe(text: str, where: str = "recipe") -> Recipe:
    """A recipe from YAML (JSON is YAML too); InvalidRequest with one line a fault."""
    try:
        value, lines = read_lines(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise InvalidRequest(f"{where} is not YAML: {error}") from error
    if not isinstance(value, dict):
        raise InvalidRequest(f"{where}: a recipe is a mapping with the keys {', '.join(Recipe.model_fields)}; got {type(value).__name__}")
    try:
        return Recipe.model_validate(value)
    except ValidationError as error:
        faults = [(_line(lines, at), ".".join(map(str, at)), message) for at, message in explain(error, Recipe)]
        detail = "\n".join(f"{where}:{line}: {key + ': ' if key else ''}{message}" for line, key, message in faults)
        raise InvalidRequest(detail, faults=[{"line": line, "key": key, "message": message} for line, key, message in faults]) from error


def _line(lines: Mapping[Location, int], at: Location) -> int:
    while at and at not in lines:
        at = at[:-1]
    return lines.get(at, 1)
