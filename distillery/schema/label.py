"""Requests to the labeller, its answers, and the receipt of a part."""

from collections.abc import Iterable
from typing import Literal

from pydantic import Field, StrictBool, StrictInt

from distillery.schema.base import CONTRACT_VERSION, Count, Element, Message, Name, Number, Sha256
from distillery.schema.sample import Sample
from distillery.structures.elements import System

LabelName = Literal["energy", "forces", "stress", "atomic_energies", "hessian"]
ALWAYS: tuple[LabelName, ...] = ("energy", "forces", "stress")
"""Labels that every structure has, a stress where it is periodic and the teacher has one."""


class Hessians(Message):
    """Which structures get a Hessian, and how: by central differences of the forces, six labels an atom."""

    max_atoms: StrictInt = Field(12, ge=1, le=100, description="structures of more atoms get none")
    step: Number = Field(0.01, gt=0, le=0.1, description="displacement of one coordinate, either way, Å")


class Reject(Message):
    """One structure that was left out, and why."""

    id: str
    reason: str
    detail: str
    stage: Literal["curation", "label"]


class LabelLimits(Message):
    """Bounds beyond which a label teaches nothing: structures that far out are refused, counted and asked for again."""

    force: Number = Field(50.0, gt=0, description="largest force on an atom, eV/Å")
    pressure: Number = Field(100.0, gt=0, description="largest pressure, positive or negative, GPa")
    energy: Number = Field(5.0, gt=0, description="largest distance of the energy from a robust fit by elements, eV/atom")


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
    service_named: tuple[str, ...] = Field((), description="what of it was refused, by file and row, where the service reads files")
    rejected: tuple[Reject, ...] = Field((), description="structures that curation refused")
    fingerprints: dict[str, str] = Field(
        {}, description="of the structures that were sent, by place in the shard: copies with noise are found by them"
    )
    note: str = Field("", description="why the shard is empty, where its source could not be used at all")
    is_outage: StrictBool = Field(False, description="its service was not there; else it refused the request")
    probes: Count = Field(0, description="structures on which the teacher's physics is tried")
    limits: LabelLimits | None = Field(None, description="bounds of sound labels; none are judged if absent")
    sample: Sample | None = Field(None, description="what is made of each structure before it is labelled; nothing if absent")
    labels: tuple[LabelName, ...] = Field(
        ALWAYS, description="what the teacher is to say of every structure", exclude_if=lambda wanted: wanted == ALWAYS
    )
    hessian: Hessians | None = Field(None, description="which structures get a Hessian; none if absent", exclude_if=lambda own: own is None)
    elements: tuple[Element, ...] = Field(
        (), description="the recipe's: the teacher's energies of their isolated atoms are wanted", exclude_if=lambda given: not given
    )


Law = Literal["repeat", "symmetry", "rotation", "translation", "permutation", "forces", "stress", "extensivity", "state", "stiffness"]


class PhysicsCheck(Message):
    """A law of physics, tried on the labels of one structure (labeller/physics.py)."""

    law: Law
    structure: str = Field(description="its id, or the name of one of the labeller's own")
    value: float | None = Field(description="the figure that is judged")
    wanted: str = Field(description="what it should be")
    passed: StrictBool | None = Field(description="null where it could not be tried")
    detail: str = Field(description="for a person: what was found, and what may be wrong")

    @property
    def how_far(self) -> float:
        """How far its figure is from what it should be: a slope or a factor from 1, a difference from 0."""
        return _off(self.law, self.value or 0.0)


def _off(law: Law, value: float) -> float:
    return abs(value - 1) if law in {"forces", "stress", "stiffness"} else abs(value)


class SelfTest(Message):
    """What a teacher's self-test found, in short; the labeller's metadata has every check."""

    tried: dict[Law, Count] = Field({}, description="checks made of each law")
    worst: dict[Law, float] = Field({}, description="of each law the figure farthest from what it should be")
    broken: tuple[str, ...] = Field((), description="what was found where a law is broken, for a person")

    @classmethod
    def of(cls, checks: Iterable[PhysicsCheck]) -> "SelfTest":
        """Checks that could not be made do not count."""
        made = [check for check in checks if check.passed is not None]
        worst: dict[Law, float] = {}
        for check in made:
            if check.value is not None and (check.law not in worst or check.how_far > _off(check.law, worst[check.law])):
                worst[check.law] = round(check.value, 6)
        return cls(
            tried={law: sum(check.law == law for check in made) for law in dict.fromkeys(check.law for check in made)},
            worst=worst,
            broken=tuple(dict.fromkeys(check.detail for check in made if not check.passed)),
        )


class Abilities(Message):
    """What a teacher can do: by itself what nearly all can, and not what few can."""

    stress: StrictBool = Field(True, description="gives the stress of what is periodic")
    periodic: StrictBool = Field(True, description="labels what is periodic; else molecules and clusters alone")
    charge: StrictBool = Field(False, description="knows of a total charge; else it labels what is neutral alone")
    spin: StrictBool = Field(False, description="knows of spin multiplicities; else it labels what has the lowest spin alone")
    atomic_energies: StrictBool = Field(False, description="says which share in the energy each atom has")


class TeacherOutline(Message):
    """What is known of a teacher before it is loaded."""

    elements: tuple[Element, ...] = Field((), description="the elements that it knows; none where that shows only once it is loaded")
    abilities: Abilities = Abilities()


class TeacherCard(Message):
    """Which teacher made the labels."""

    name: str
    version: str = Field(description="package and version")
    weights_sha256: Sha256
    licence: str = Field("", description="of the weights")
    device: str
    elements: tuple[Element, ...]
    abilities: Abilities = Field(Abilities(), description="what it can do", exclude_if=lambda given: given == Abilities())
    self_test: SelfTest | None = Field(None, description="what was found when it was loaded; absent if its physics was not tried then")

    @property
    def identity(self) -> tuple[str, str]:
        """What parts of one dataset must have in common."""
        return self.name, self.weights_sha256

    @property
    def outline(self) -> TeacherOutline:
        """What it knows and can do."""
        return TeacherOutline(elements=self.elements, abilities=self.abilities)

    def describe(self) -> str:
        """For a person."""
        return f"{self.name} ({self.version}, weights {self.weights_sha256[:12]})"


class LabellerCard(Message):
    """What `GET /v1/metadata` of a labeller answers."""

    service: Name = "labeller"
    version: str
    teacher_name: str = Field(description="the teacher it is set up for")
    teacher: TeacherCard | None = Field(description="absent until it is loaded")
    data: str = Field(description="folder of the datasets")
    workers: int | None = Field(description="threads that predict")
    atom_budget: int | None = Field(description="atoms that a batch may have now")
    waiting: Count = Field(description="structures that wait for the teacher")
    queue: Count = Field(description="structures that may wait")
    body_limit_mib: Count = Field(description="largest body of a request, MiB")
    self_test: tuple[PhysicsCheck, ...] = Field((), description="laws of physics tried when the teacher was loaded")


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
    n_calls: Count = Field(0, description="structures that the teacher labelled for it, steps of sampling among them; 0 if not counted")
    physics: tuple[PhysicsCheck, ...] = Field((), description="laws of physics tried on structures of this part")
    physics_seconds: float = Field(0.0, ge=0, description="teacher time spent on that, s")
    isolated_atoms: dict[Element, float] = Field(
        {},
        description="the teacher's energies of single neutral atoms, eV, of the elements that the record names; none where it has no label",
        exclude_if=lambda found: not found,
    )
    optional_columns: tuple[str, ...] = Field(
        (), description="columns that the part has beside those that all have", exclude_if=lambda names: not names
    )
    structures_sha256: Sha256 = Field(description="of ids and structure hashes, in order")
    content_sha256: Sha256 = Field(description="of every array of the part")
    created: str = Field(description="UTC, ISO 8601")


class LabelRecord(Message):
    """What a teacher says of one structure."""

    id: str
    energy: float = Field(description="eV")
    forces: list[tuple[float, float, float]] = Field(description="eV/Å, shape (n_atoms, 3)")
    stress: tuple[float, float, float, float, float, float] | None = Field(
        description="eV/Å³, ASE's order xx yy zz yz xz xy and sign; null where it has no meaning (not periodic)"
    )


class LabelledBatch(Message):
    """What `POST /labels` answers: labels in the order of the structures, without those that were refused."""

    teacher: TeacherCard
    labels: list[LabelRecord]
    rejected: list[Reject]
    label_seconds: float = Field(ge=0, description="teacher time, s")


class PartSelection(Message):
    """A part to merge, and the structures of it to leave out (duplicates, surplus)."""

    part: Name
    leave_out: tuple[str, ...] = ()
    outliers: dict[str, Count] = Field({}, description="those of them whose energies are far off, and in which round that was seen")


class FinaliseRequest(Message):
    """What `POST /finalise` takes: the parts in plan order."""

    dataset: Name
    recipe: str = Field(description="the recipe, YAML")
    recipe_sha256: Sha256
    earlier_sha256: tuple[Sha256, ...] = Field((), description="of the recipes that the dataset grew from: its parts may be theirs")
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
