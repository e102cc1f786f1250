"""What report.json and checkpoints.json hold: gates, checkpoints and what became of every source."""

from typing import Any, Literal

from pydantic import Field

from distillery.schema.assess import Assessment
from distillery.schema.base import Count
from distillery.schema.disagreement import Disagreement
from distillery.schema.label import TeacherCard
from distillery.schema.problem import Answer

StageName = Literal["pilot", "test", "full"]
GateName = Literal[
    "completeness",
    "teacher_success",
    "element_entropy",
    "element_coverage",
    "distinct_sizes",
    "distinct_compositions",
    "environment_diversity",
    "duplicates",
    "generation_seconds",
    "mean_atoms",
    "size_variation",
    "system_balance",
    "bond_lengths",
    "energy_outliers",
    "largest_force",
    "largest_pressure",
    "energy_fit",
    "sound_labels",
    "teacher_physics",
]
VerdictWord = Literal["GO", "NO-GO"]
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
    detail: str = Field("", description="what is wrong, where the value alone does not tell")


class CheckpointRecord(Answer):
    """What there was at a place in the plan, judged."""

    stage: StageName
    attempt: Count = Field(description="how often the shares of the sources were changed before")
    generative_fraction: float | None
    wave: Count
    waves: Count = Field(description="waves in this stage")
    stretch: int | None = Field(description="the slice of the wave that ends here; null at the wave's end")
    ends_stage: bool
    step: Count = Field(0, description="how many recipes the dataset had grown from then")
    n_structures: Count = Field(description="structures that count")
    wanted: dict[str, int] = Field(description="structures owed by every source")
    verdict: VerdictWord
    reasons: list[str] = Field(description="required gates that are not passed")


class FallbackUse(Answer):
    """A source whose fallback made structures for it."""

    source: str
    by: str
    n_structures: Count
    reason: str


class Scenario(Answer):
    """Whether every source made its own structures (A), or which fallbacks were used and why (B)."""

    name: Literal["A", "B"]
    text: str
    stand_ins: list[FallbackUse]
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
    """Counts, times and sizes of a source."""

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
    teacher_calls: Count | None = Field(None, description="structures that the teacher labelled for it, steps of sampling among them")
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
    assessment: Assessment | None = Field(
        None, description="what a student learnt from it; absent before `distillery assess`", exclude_if=lambda value: value is None
    )
    disagreement: Disagreement | None = Field(
        None,
        description="how far its labels are from those that its structures had before; absent but after `distillery relabel`",
        exclude_if=lambda value: value is None,
    )

    def as_json(self) -> dict[str, Any]:
        """What is written."""
        return self.model_dump(mode="json")

    @property
    def failed_gates(self) -> list[GateRecord]:
        """The required gates that are not passed."""
        return [gate for gate in self.gates if gate.required and not gate.passed]
