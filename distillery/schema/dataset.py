"""What the gateway says of a dataset: its status, events, forecast and files."""

from collections import Counter
from typing import Literal

from pydantic import Field

from distillery.schema.base import Count
from distillery.schema.factory import RetryRecord, WorkRecord
from distillery.schema.problem import Answer, ProblemDocument, RecipeFault
from distillery.schema.report import CheckpointRecord, GateRecord, StageName, VerdictWord

State = Literal["running", "paused", "cancelled", "stopped", "finished", "failed"]


class InWork(Answer):
    """Shards that are being made, by what is done with them."""

    generate: Count = 0
    label: Count = 0

    def describe(self) -> str:
        """For example `generating 2 shards, labelling 1 shard`; empty where there are none."""
        steps = (("generating", self.generate), ("labelling", self.label))
        return ", ".join(f"{step} {n} shard{'s' if n > 1 else ''}" for step, n in steps if n)


class SourceProgress(Answer):
    """Counts, times and rejections of a source so far."""

    wanted: Count = Field(description="by the end of the current stage")
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
    duplicates: Count = Field(0, description="labelled structures that came before, found at the end of a round")
    outliers: Count = Field(0, description="labelled structures whose energies proved to be far off, found at the end of a round")
    fallback: str | None = Field(None, description="the source that makes its structures")

    @property
    def counted(self) -> int:
        """Labelled structures as far as they are wanted, without those that were left out again; falls at the end of a round with such."""
        return min(self.labelled - self.duplicates - self.outliers, self.wanted)

    @property
    def refused(self) -> dict[str, int]:
        """All that is left out, by reason: before a part was written, and once it was compared with the others; most frequent first."""
        late = {"duplicate": self.duplicates, "energy_outlier": self.outliers}
        counts = Counter(self.rejected) + Counter(late)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


class Progress(Answer):
    """How far a dataset is and which way it went."""

    round: Count = 0
    stage: StageName | None = None
    wave: Count = 1
    waves: Count = 1
    checkpoints: list[CheckpointRecord] = Field([])
    scenario: str = ""
    sources: dict[str, SourceProgress] = Field({})


class DatasetState(Answer):
    """Which dataset it is and what is wanted of it, whether it is being made, and what came out."""

    name: str
    state: State = Field(description="stopped: it is to run, but no process makes it")
    verdict: VerdictWord | None = None
    has_page: bool = False
    reasons: list[str] = Field([])
    failed_gates: list[GateRecord] = Field([])
    doing: str = Field("", description="what it is busy with besides shards")
    problem: ProblemDocument | None = None
    stages: list[StageName] = Field([])
    until: StageName | None = None
    started: float | None = Field(None, description="by this process, Unix time, s")
    recipe_sha256: str | None = None
    teacher: str = ""


class Status(Progress, DatasetState):
    """The status of a dataset: how far it is, and what goes on or holds it up at this moment."""

    at_work: list[WorkRecord] = Field([], description="shards that are being made by this gateway")
    retries: list[RetryRecord] = Field([], description="requests to its services and labeller that failed and are asked again")


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
    n_calls: float = Field(1.0, description="labels that the teacher gave for each structure asked for, steps of sampling among them")


class RestForecast(Answer):
    """What is not there yet takes, as far as it is known."""

    n_structures: Count
    n_calls: Count = Field(0, description="labels that the teacher gives, steps of sampling among them; at most so many of unknown sources")
    generate_seconds: dict[str, float] = Field(description="services' working time")
    label_seconds: float = Field(description="teacher's working time")
    seconds: float = Field(description="by the clock; `assumption` says what it is based on")
    parts_bytes: Count
    dataset_bytes: Count


class Forecast(Answer):
    """What a recipe makes and takes."""

    dataset: str
    until: StageName
    sources: dict[str, str] = Field(description="the service of every source")
    stages: list[StageForecast]
    rates: dict[str, Rate] = Field(description="of the sources that have parts")
    parts: Count
    parts_done: Count
    rest: RestForecast
    unknown: dict[str, str] = Field(description="sources without a rate, and why")
    assumption: str


class RecipeCheck(Answer):
    """What is known of a recipe before anything is made."""

    faults: list[RecipeFault] = Field(description="what keeps it from being made, by line; empty if nothing does")
    notes: list[str] = Field(description="what may pass until it is made, or be made by others, and gates that it can't reach")


class FileEntry(Answer):
    """A file of a dataset."""

    path: str
    bytes: Count


class SeenStructure(Answer):
    """A labelled structure, for a person to look at: rounded, and without most of its provenance."""

    id: str
    source: str
    system: str
    formula: str
    symbols: list[str]
    positions: list[tuple[float, float, float]] = Field(description="Cartesian, Å")
    cell: list[tuple[float, float, float]] | None = Field(description="rows are vectors, Å; null when not periodic")
    charge: int = Field(0, description="total, of the cell where it is periodic, e")
    multiplicity: int = Field(0, description="of the spin, 2 S + 1; 0 for the lowest that its electrons allow")
    energy_per_atom: float = Field(description="eV")
    largest_force: float = Field(description="eV/Å")
    forces: list[tuple[float, float, float]] = Field(description="eV/Å")


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
    """A source's fallback makes its structures from now on."""

    source: str
    fallback: str | None
    detail: str


class MissingServiceEvent(Answer):
    """A service that is missing; its sources' fallbacks are used."""

    service: str
    detail: str


class FinalisingEvent(Answer):
    """The parts are being merged."""

    parts: Count


class FinishedEvent(Answer):
    """It is made."""

    verdict: VerdictWord
    stage: StageName


EventKind = Literal[
    "state", "round", "shard", "retry", "checkpoint", "verdict", "fallback", "missing_service", "finalising", "page", "finished", "failed"
]
EventData = (
    StateEvent
    | RoundEvent
    | ShardEvent
    | RetryRecord
    | CheckpointRecord
    | FallbackEvent
    | MissingServiceEvent
    | FinalisingEvent
    | FinishedEvent
    | ProblemDocument
)


class Event(Answer):
    """Something that happened to a dataset. `page` (which could not be made) and `failed` carry a problem."""

    id: Count
    event: EventKind
    time: float = Field(description="Unix time, s")
    data: EventData


class Notice(Answer):
    """What a webhook is sent: an event of the kinds verdict, finished or failed."""

    dataset: str
    event: Event
