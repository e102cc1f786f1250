"""What is told of a dataset: its status, report, checkpoints, events, forecast and files."""

from typing import Any, Literal

from pydantic import Field

from distillery.schema.base import Count
from distillery.schema.label import TeacherCard
from distillery.schema.problem import Answer, ProblemDocument

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
VerdictWord = Literal["GO", "NO-GO"]
State = Literal["running", "paused", "cancelled", "stopped", "finished", "failed"]
Figure = int | float


class GateRecord(Answer):
    """A gate, judged; `scope` is "all" or a source."""

    gate: GateName
    scope: str
    value: Figure | None = Field(description="null where there is nothing to measure")
    sign: str = Field(description="the value must be `sign` the threshold")
    threshold: Figure
    ceiling: Figure | None = Field(description="the largest value that it can reach")
    required: bool
    passed: bool
    meaning: str


class CheckpointRecord(Answer):
    """What there was at a place in the plan, judged."""

    stage: StageName
    attempt: Count = Field(description="how often the shares of the sources were changed before")
    generative_fraction: float | None
    wave: Count
    waves: Count = Field(description="waves in this stage")
    stretch: int | None = Field(description="the slice of the wave that ends here; null at the wave's end")
    ends_stage: bool
    n_structures: Count = Field(description="structures that count")
    wanted: dict[str, int] = Field(description="structures owed by every source")
    verdict: VerdictWord
    reasons: list[str] = Field(description="required gates that are not passed")


class StandIn(Answer):
    """A source whose structures another one made."""

    source: str
    by: str
    n_structures: Count
    reason: str


class Scenario(Answer):
    """Whether every source made its own structures (A), or who stood in for whom and why (B)."""

    name: Literal["A", "B"]
    text: str
    stand_ins: list[StandIn]
    unusable: dict[str, dict[str, str]] = Field(description="by source and who was to make it: why it could not")


class Totals(Answer):
    """The size of dataset.h5."""

    n_structures: Count
    n_atoms: Count
    n_bytes: Count


class SizeRange(Answer):
    """Numbers of atoms."""

    min: Count
    mean: float
    max: Count


class EntropyRecord(Answer):
    """Shannon entropy of the elements, bits, by atoms and by structures, with what it can reach."""

    by_atoms: float
    by_atoms_of_recipe_elements: float
    by_structures: float
    by_structures_of_recipe_elements: float
    ceiling: float
    ceiling_of_recipe_elements: float
    ceiling_at_this_hydrogen_share: float


class SourceReport(Answer):
    """What became of a source."""

    wanted: Count
    kept: Count
    requested: Count
    generated: Count
    labelled: Count
    made_by: dict[str, int] = Field(description="structures by the service that made them")
    fallback_notes: list[str]
    rejected: dict[str, int] = Field(description="by `<step>: <reason>`")
    generate_seconds: float
    label_seconds: float
    n_atoms: SizeRange
    n_compositions: Count
    element_entropy: EntropyRecord


class ElementReport(Answer):
    """The elements of the whole dataset."""

    share_of_atoms: dict[str, float]
    entropy: EntropyRecord


class DiversityRecord(Answer):
    """How many different atomic environments the sources have, and how many of them others have too (docs/report.md)."""

    n_environments: Count = Field(description="in each half of every source's sample")
    n_structures: dict[str, int]
    bandwidth: float = Field(description="1/Å")
    ceiling: float = Field(description="nats")
    entropy: dict[str, float] = Field(description="nats")
    coverage: dict[str, dict[str, float]]
    covered_by_others: dict[str, float]
    too_small: dict[str, int] = Field(description="sources left out, with their environments")


class Report(Answer):
    """The content of report.json."""

    dataset: str
    verdict: VerdictWord
    stage: StageName
    reasons: list[str]
    gates: list[GateRecord]
    stages: list[CheckpointRecord]
    checkpoints: list[CheckpointRecord]
    scenario: Scenario
    totals: Totals
    rounds: Count
    parts: Count
    sources: dict[str, SourceReport]
    elements: ElementReport
    teacher: TeacherCard
    recipe_sha256: str
    structures_sha256: str
    diversity: DiversityRecord | None = Field(None, description="absent if no page was made", exclude_if=lambda value: value is None)

    def as_json(self) -> dict[str, Any]:
        """What is written."""
        return self.model_dump(mode="json")

    @property
    def failed_gates(self) -> list[GateRecord]:
        """The required gates that are not passed."""
        return [gate for gate in self.gates if gate.required and not gate.passed]


class InWork(Answer):
    """Shards that are being made, by what is done with them."""

    generate: Count = 0
    label: Count = 0


class SourceProgress(Answer):
    """Counts, times and rejections of a source so far."""

    wanted: Count = Field(description="by the end of the stage at hand")
    kept: Count = 0
    labelled: Count = 0
    generated: Count = 0
    requested: Count = 0
    shards: Count = 0
    shards_done: Count = 0
    in_work: InWork = InWork()
    generate_seconds: float = 0.0
    label_seconds: float = 0.0
    rejected: dict[str, int] = Field({}, description="by reason")
    duplicates: Count = 0
    fallback: str | None = Field(None, description="the source that stands in")


class Progress(Answer):
    """How far a dataset is and which way it went."""

    round: Count = 0
    stage: StageName | None = None
    wave: Count = 1
    waves: Count = 1
    checkpoints: list[CheckpointRecord] = Field([])
    scenario: str = ""
    sources: dict[str, SourceProgress] = Field({})


class Standing(Answer):
    """Which dataset it is and what is wanted of it, whether it is being made, and what came out."""

    name: str
    state: State = Field(description="stopped: wanted running, and nobody makes it")
    verdict: VerdictWord | None = None
    has_page: bool = False
    reasons: list[str] = Field([])
    failed_gates: list[GateRecord] = Field([])
    doing: str = Field("", description="what takes its time besides shards")
    problem: ProblemDocument | None = None
    stages: list[StageName] = Field([])
    until: StageName | None = None
    started: float | None = Field(None, description="by this process, Unix time, s")
    recipe_sha256: str | None = None
    teacher: str = ""


class Status(Progress, Standing):
    """Where a dataset stands."""


class StageForecast(Answer):
    """A stage as it is or would be at its end."""

    stage: StageName
    waves: Count
    generative_fraction: float | None
    n_structures: Count
    wanted: dict[str, int]
    shards: dict[str, int] = Field(description="by source")
    shards_done: Count
    verdict: VerdictWord | None = Field(description="null if it is not made yet")
    reasons: list[str]


class Rate(Answer):
    """What structures of one maker took, in the parts so far."""

    acceptance: float = Field(description="structures that can be used over those asked for")
    generate_seconds: float = Field(description="service's working time for each structure asked for, s")
    label_seconds: float = Field(description="teacher's working time for each labelled structure, s")
    n_bytes: float = Field(description="of one labelled structure in a file")


class RestForecast(Answer):
    """What is not there yet takes, as far as it is known."""

    n_structures: Count
    generate_seconds: dict[str, float] = Field(description="by service")
    label_seconds: float
    seconds: float
    parts_bytes: Count
    dataset_bytes: Count


class Forecast(Answer):
    """What a recipe makes and takes."""

    dataset: str
    until: StageName
    sources: dict[str, str] = Field(description="the service of every source")
    stages: list[StageForecast]
    rates: dict[str, Rate] = Field(description="of the sources of which parts are there")
    parts: Count
    parts_done: Count
    rest: RestForecast
    unknown: dict[str, str] = Field(description="sources without a rate, and why")
    assumption: str


class FileEntry(Answer):
    """A file of a dataset."""

    path: str
    bytes: Count


class StateEvent(Answer):
    """It runs, is paused or was cancelled."""

    state: State


class RoundEvent(Answer):
    """A round of shards begins."""

    round: Count
    stage: StageName
    wave: Count
    waves: Count
    shards: Count
    pending: Count


class ShardEvent(Answer):
    """A part is there."""

    shard: str
    source: str
    labelled: Count


class FallbackEvent(Answer):
    """Another source steps in."""

    source: str
    fallback: str | None
    detail: str


class AwayEvent(Answer):
    """A service that the dataset does without."""

    service: str
    detail: str


class FinalisingEvent(Answer):
    """The parts are being merged."""

    parts: Count


class FinishedEvent(Answer):
    """It is made."""

    verdict: VerdictWord
    stage: StageName


EventKind = Literal["state", "round", "shard", "checkpoint", "verdict", "fallback", "away", "finalising", "page", "finished", "failed"]
EventData = (
    StateEvent | RoundEvent | ShardEvent | CheckpointRecord | FallbackEvent | AwayEvent | FinalisingEvent | FinishedEvent | ProblemDocument
)


class Event(Answer):
    """Something that happened to a dataset. `page` (which could not be made) and `failed` carry a problem."""

    id: Count
    event: EventKind
    time: float = Field(description="Unix time, s")
    data: EventData
