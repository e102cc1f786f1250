"""Requests to a generator service, and its answers."""

from typing import Any

from pydantic import Field, StrictBool, StrictInt

from distillery.runtime.limits import MOST_STRUCTURES
from distillery.schema.base import CONTRACT_VERSION, Element, Elements, Message, Name, Number, Sha256
from distillery.structures.elements import DEFAULT_ELEMENTS, SHORTEST_DISTANCE, System


class Perturb(Message):
    """How far structures are moved off equilibrium: labels at perfect equilibrium teach no forces."""

    rattle: Number = Field(0.0, ge=0, le=1, description="standard deviation of Gaussian displacements, Å")
    strain: Number = Field(0.0, ge=0, le=0.5, description="largest component of a random symmetric strain, dimensionless; periodic only")
    share: Number = Field(1.0, ge=0, le=1, description="share of the structures that are perturbed")


class PoolSlice(Message):
    """The slice of a pool that a request may take; requests have different slices, so that none takes the same entry."""

    seed: StrictInt = Field(ge=0, lt=2**63, description="gives the order of the pool; the same in all requests that share it")
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
    pool_slice: PoolSlice | None = Field(
        None,
        description="entries start..start+n-1 of the pool, by services that have one (others ignore it); if absent, `seed` gives the order",
    )
    options: dict[str, Any] = Field({}, description="the service's own; GET /v1/metadata has their JSON Schema")


class StructuresRequest(GenerateRequest):
    """What `POST /v1/generate` of the gateway takes: structures of one service without a dataset, as many as are wanted."""

    service: Name = Field(description="the service that makes them")
    n: StrictInt = Field(ge=1, le=MOST_STRUCTURES, description="how many structures; they are asked for in pieces and sent as they come")
    shard: Name | None = Field(None, description="ids are <shard>-<piece>/<nnnn>; <service>-<seed> if absent", max_length=80)
    pool_slice: None = Field(None, description="is given to each piece")


class RequestFault(Message):
    """One reason why a service can't do a request."""

    key: tuple[str | int, ...] = Field(description="the key in the request; `atoms` for its smallest and largest number together")
    message: str = Field(description="what was wanted, what came, and what to do")


class RequestCheck(Message):
    """What `POST /check` answers."""

    faults: tuple[RequestFault, ...] = Field(
        description="empty if the request can be done, as far as the service knows before it is loaded"
    )
    may_be_charged: StrictBool = Field(
        False,
        description="true where its structures may have a charge: only for teachers that know of charges",
        exclude_if=lambda given: not given,
    )


class NoOptions(Message):
    """Of a system that takes no options."""


class ChargeOptions(Message):
    """Base of the options of services that can make ions, or spins above the lowest, which not every teacher knows of."""

    @property
    def may_be_charged(self) -> bool:
        """Whether these options ask for such structures."""
        return True


class SystemCard(Message):
    """One system a service makes."""

    min_atoms: int = Field(description="smallest possible number of atoms")
    max_atoms: int = Field(description="largest possible number of atoms")
    default_min_atoms: int = Field(
        default_factory=lambda card: card["min_atoms"], description="taken where the request names none; the smallest if absent"
    )
    default_max_atoms: int = Field(
        default_factory=lambda card: card["max_atoms"], description="taken where the request names none; the largest if absent"
    )
    elements: tuple[Element, ...] = Field(description="the elements it can make")
    options_schema: dict[str, Any] = Field(default_factory=NoOptions.model_json_schema, description="JSON Schema of `options`")

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
    n_max: int = Field(default=500, description="most structures in one request")
    minimum_distance: float = Field(default=SHORTEST_DISTANCE, description="no two atoms are closer than this, periodic images included, Å")
    seedable: StrictBool = True
    generative: StrictBool = False
    versions: dict[str, str] = Field({}, description="the libraries the result depends on")
    weights_sha256: Sha256 | None = None


class Generated(Message):
    """What travels in the schema metadata of a `/generate` answer."""

    service: Name
    version: str
    contract: str = CONTRACT_VERSION
    versions: dict[str, str] = Field({}, description="the libraries the result depends on")
    weights_sha256: Sha256 | None = None
    licence: str = Field("", description="of the method, and of its model where it has one")
    requested: int
    attempts: int
    rejected: dict[str, int] = Field({}, description="attempts that gave no structure, and conformers that were refused, by reason")
    named: tuple[str, ...] = Field((), description="what was refused, by file and row, where the service reads files; the first of them")


Vector = tuple[float, float, float]
_LARGEST_STATE = 2**31 - 1
"""Of charges and multiplicities: what the columns of a structure batch hold (distillery.structures.arrow)."""


class StructureRecord(Message):
    """A structure as JSON."""

    id: str
    numbers: list[int] = Field(description="atomic numbers")
    positions: list[Vector] = Field(description="Cartesian, Å")
    cell: tuple[Vector, Vector, Vector] = Field(description="rows are vectors, Å; zero when not periodic")
    pbc: tuple[bool, bool, bool]
    system: System
    origin: dict[str, Any] = Field(description="how it was made")
    charge: StrictInt = Field(
        0,
        ge=-_LARGEST_STATE,
        le=_LARGEST_STATE,
        description="total, of a cell where it is periodic, e; 0 if absent",
        exclude_if=lambda given: given == 0,
    )
    multiplicity: StrictInt = Field(
        0,
        ge=0,
        le=_LARGEST_STATE,
        description="of the spin, 2 S + 1; the lowest that its electrons allow if absent",
        exclude_if=lambda given: given == 0,
    )


class StructuresAnswer(Message):
    """What `POST /v1/generate` of the gateway answers where JSON is asked for; it is sent as it is made."""

    service: Name
    version: str
    licence: str
    structures: list[StructureRecord]
    requested: int
    attempts: int
    rejected: dict[str, int] = Field(description="attempts that gave no structure, by reason")


class StructureList(Message):
    """Structures as JSON; what `POST /v1/generate` answers beside them may be there too, and is not looked at."""

    structures: list[StructureRecord] = Field(min_length=1)
    service: Name | None = None
    version: str | None = None
    licence: str | None = None
    requested: int | None = None
    attempts: int | None = None
    rejected: dict[str, int] | None = None


class GeneratedBatch(Message):
    """What `POST /generate` answers where JSON is asked for."""

    metadata: Generated
    structures: list[StructureRecord]
