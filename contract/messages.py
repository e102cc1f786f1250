"""The JSON messages between gateway, services and labeller: frozen, no extra keys, strict integers, finite floats."""

from typing import Annotated, Any, Literal

from ase.data import atomic_numbers
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from contract import CONTRACT_VERSION
from contract.structures import DEFAULT_ELEMENTS, System


class Message(BaseModel):
    """Base of all messages: frozen, extra keys forbidden, floats finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _known_element(symbol: str) -> str:
    if symbol not in atomic_numbers or symbol == "X":
        raise ValueError(f"{symbol!r} is not a chemical symbol")
    return symbol


def _all_different(elements: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({element for element in elements if elements.count(element) > 1})
    if twice:
        raise ValueError(f"every element is named once; {' '.join(twice)} came again")
    return elements


def _no_truth_value(value: object) -> object:
    """Pydantic takes true for 1: a rattle of 1 Å."""
    if isinstance(value, bool):
        raise ValueError("a number is wanted")
    return value


Element = Annotated[StrictStr, AfterValidator(_known_element)]
Elements = Annotated[tuple[Element, ...], Field(min_length=1), AfterValidator(_all_different)]
Number = Annotated[float, BeforeValidator(_no_truth_value)]
Name = Annotated[StrictStr, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
Sha256 = Annotated[StrictStr, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[StrictInt, Field(ge=0)]


class Perturb(Message):
    """How far structures are moved off equilibrium: labels at perfect equilibrium teach no forces."""

    rattle: Number = Field(0.0, ge=0, le=1, description="standard deviation of Gaussian displacements, Å")
    strain: Number = Field(0.0, ge=0, le=0.5, description="largest component of a random symmetric strain, dimensionless; periodic only")
    share: Number = Field(1.0, ge=0, le=1, description="share of the structures that are perturbed")


class Stretch(Message):
    """A stretch of a pool that several requests share out among them, so that none takes what another has."""

    seed: StrictInt = Field(ge=0, lt=2**63, description="gives the order of the pool; the same in all these requests")
    start: StrictInt = Field(ge=0, lt=2**63, description="structures asked for by the requests before this one")


class GenerateRequest(Message):
    """What `POST /generate` takes."""

    n: StrictInt = Field(ge=1, description="how many structures")
    seed: StrictInt = Field(ge=0, lt=2**63, description="same seed and request, same bytes")
    shard: Name | None = Field(None, description="ids are <shard>/<nnnn>; <service>-<seed> if absent")
    system: System | None = Field(None, description="the service's first system if absent")
    elements: Elements = Field(DEFAULT_ELEMENTS, description="allowed elements, each once")
    min_atoms: StrictInt | None = Field(None, ge=1, description="the system's default if absent")
    max_atoms: StrictInt | None = Field(None, ge=1, description="the system's default if absent")
    perturb: Perturb = Perturb()
    stretch: Stretch | None = Field(
        None,
        description="entries start..start+n-1 of the pool, by services that have one (others ignore it); if absent, `seed` gives the order",
    )
    options: dict[str, Any] = Field({}, description="the service's own; GET /v1/metadata has their JSON Schema")


class SystemCard(Message):
    """One system a service makes."""

    min_atoms: int = Field(description="smallest possible number of atoms")
    max_atoms: int = Field(description="largest possible number of atoms")
    default_min_atoms: int = Field(description="taken where the request names none")
    default_max_atoms: int = Field(description="taken where the request names none")
    elements: tuple[Element, ...] = Field(description="the elements it can make")
    options_schema: dict[str, Any] = Field(description="JSON Schema of `options`")

    def spans(self, low: int, high: int) -> bool:
        """Whether all of these numbers of atoms are possible."""
        return self.min_atoms <= low and high <= self.max_atoms


class Metadata(Message):
    """What `GET /v1/metadata` answers."""

    service: Name
    version: str
    contract: str = CONTRACT_VERSION
    method: str
    licence: str
    systems: dict[System, SystemCard]
    n_max: int = Field(description="most structures in one request")
    minimum_distance: float = Field(description="no two atoms are closer than this, periodic images included, Å")
    seedable: StrictBool = True
    generative: StrictBool = False
    versions: dict[str, str] = Field({}, description="the libraries the result depends on")
    weights_sha256: Sha256 | None = None


class Generated(Message):
    """What travels in the schema metadata of a `/generate` answer."""

    service: Name
    version: str
    contract: str = CONTRACT_VERSION
    versions: dict[str, str] = {}
    weights_sha256: Sha256 | None = None
    licence: str = Field("", description="of the method, and of its model where it has one")
    requested: int
    attempts: int
    rejected: dict[str, int] = Field({}, description="attempts that gave no structure, and conformers that were refused, by reason")


class Reject(Message):
    """One structure that was left out, and why."""

    id: str
    reason: str
    detail: str
    stage: Literal["curation", "label"]


class ShardRecord(Message):
    """What is known of a shard before it is labelled; travels in the schema metadata of a `/label` request."""

    recipe_sha256: Sha256
    stage: str
    source: str
    service: str
    system: System
    seed: StrictInt
    start: Count = Field(description="structures asked of the same maker before this shard")
    round: Count
    requested: Count
    generated: Count
    generate_seconds: float = Field(ge=0, description="wall time of /generate, s")
    service_version: str
    service_versions: dict[str, str] = {}
    service_weights_sha256: Sha256 | None = None
    service_licence: str = ""
    service_rejected: dict[str, int] = {}
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
