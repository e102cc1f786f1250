"""What the labeller is asked and answers, and what a part says of itself."""

from typing import Literal

from pydantic import Field, StrictBool, StrictInt

from distillery.schema.base import CONTRACT_VERSION, Count, Element, Message, Name, Sha256
from distillery.structures.structure import System


class Reject(Message):
    """One structure that was left out, and why."""

    id: str
    reason: str
    detail: str
    stage: Literal["curation", "label"]


class ShardRecord(Message):
    """What is known of a shard before it is labelled; travels in the schema metadata of a `/label` request."""

    recipe_sha256: Sha256
    stage: Name
    source: Name
    service: Name
    system: System
    seed: StrictInt
    start: Count = Field(description="structures asked of the same maker before this shard")
    round: Count
    requested: Count
    generated: Count
    generate_seconds: float = Field(ge=0, description="wall time of /generate, s")
    service_version: str
    service_versions: dict[str, str] = Field({}, description="the libraries the structures depend on")
    service_weights_sha256: Sha256 | None = None
    service_licence: str = ""
    service_rejected: dict[str, int] = Field({}, description="attempts that gave no structure, by reason")
    rejected: tuple[Reject, ...] = Field((), description="structures that curation refused")
    note: str = Field("", description="why the shard is empty, where its source could not be used at all")
    is_outage: StrictBool = Field(False, description="its service was not there; else it refused the request")


class TeacherCard(Message):
    """Which teacher made the labels."""

    name: str
    version: str = Field(description="package and version")
    weights_sha256: Sha256
    licence: str = Field("", description="of the weights")
    device: str
    elements: tuple[Element, ...]

    @property
    def identity(self) -> tuple[str, str]:
        """What parts of one dataset must have in common."""
        return self.name, self.weights_sha256

    def describe(self) -> str:
        """For a person."""
        return f"{self.name} ({self.version}, weights {self.weights_sha256[:12]})"


class Receipt(Message):
    """What a part says of itself and `POST /label` answers."""

    dataset: Name
    part: Name
    contract: str = CONTRACT_VERSION
    record: ShardRecord
    teacher: TeacherCard
    n_structures: Count = Field(description="labelled structures in the part")
    n_atoms: Count
    rejected: tuple[Reject, ...] = Field((), description="structures the labeller refused or the teacher failed on")
    label_seconds: float = Field(ge=0, description="teacher time spent on this part, s")
    structures_sha256: Sha256 = Field(description="of ids and structure hashes, in order")
    content_sha256: Sha256 = Field(description="of every array of the part")
    created: str = Field(description="UTC, ISO 8601")


class PartSelection(Message):
    """A part to merge, and the structures of it to leave out (duplicates, surplus)."""

    part: Name
    leave_out: tuple[str, ...] = ()


class FinaliseRequest(Message):
    """What `POST /finalise` takes: the parts in plan order."""

    dataset: Name
    recipe: str = Field(description="the recipe, YAML")
    recipe_sha256: Sha256
    seed: StrictInt
    checkpoints: str = Field("[]", description="what the gates said on the way and at the end, JSON; goes into the file as it is")
    parts: tuple[PartSelection, ...]


class FinaliseReceipt(Message):
    """What `POST /finalise` answers."""

    dataset: Name
    n_structures: Count
    n_atoms: Count
    structures_sha256: Sha256
    n_bytes: Count
