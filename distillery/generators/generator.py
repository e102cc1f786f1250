"""Generators: the interface, the task that one is given, and its answer."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import ValidationError

from distillery.errors import Internal, InvalidRequest, NotFound, Unavailable, Unsupported
from distillery.runtime.stopping import Stop
from distillery.schema.base import Message
from distillery.schema.explain import explain, validate_message
from distillery.schema.generate import (
    ChargeOptions,
    GenerateRequest,
    Metadata,
    NoOptions,
    Perturb,
    PoolSlice,
    RequestCheck,
    RequestFault,
    SystemCard,
)
from distillery.structures.structure import Structure, System


class Progress(Protocol):
    """Told how many of n structures there are so far; a batch half sampled counts half."""

    def __call__(self, made: float, n: int) -> None: ...


@dataclass(frozen=True)
class Task:
    """A request whose defaults are filled in and whose options are validated.

    pool_slice  which entries of the generator's pool, if it has one, are this task's; None: any
    attempt  which proposal of the task is asked for (`distillery.generators.proposals`)
    """

    n: int
    seed: int
    shard: str
    system: System
    elements: tuple[str, ...]
    min_atoms: int
    max_atoms: int
    perturb: Perturb
    options: Message
    pool_slice: PoolSlice | None = None
    attempt: int = 0


@dataclass
class Made:
    """A generator's answer to a task: at most n structures, and the failed attempts by reason.

    named  what was refused, by file and row, where files are read
    """

    structures: list[Structure] = field(default_factory=list)
    attempts: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    named: list[str] = field(default_factory=list)


class Generator(Protocol):
    """A source of structures. `generate` may be called from several threads; all else from one.

    A class that inherits from it may leave out options, loading, checks and closing.
    """

    @property
    def metadata(self) -> Metadata:
        """What it can make and with what."""

    @property
    def options(self) -> Mapping[System, type[Message]]:
        """The model of `options` for every system it makes."""
        return dict.fromkeys(self.metadata.systems, NoOptions)

    def load(self) -> None:
        """Load weights or start workers; Unavailable says what is missing and where to put it."""
        return

    def check(self, task: Task) -> None:
        """Raise Unsupported if this task can't be done at all."""
        return

    def generate(self, task: Task, stop: Stop, progress: Progress) -> Made:
        """Make `task.n` structures, or as many as the budget of attempts allows; Stopped soon after `stop` is set."""

    def close(self) -> None:
        """Release workers and memory."""
        return


def require_answer(made: Made, task: Task, service: str) -> None:
    """Internal, which names the service, if what its generator made is no answer to the task: another's code may have made it."""
    if not isinstance(made, Made):
        raise Internal(f"{service}'s generator must return a Made, it returned {type(made).__name__}")
    if foreign := [type(one).__name__ for one in made.structures if not isinstance(one, Structure)]:
        raise Internal(f"{service}'s generator must make Structures, it made {foreign[0]}")
    if len(made.structures) > task.n:
        raise Internal(f"{service}'s generator must make at most the {task.n} structures it is asked for, it made {len(made.structures)}")
    ids = {one.id for one in made.structures}
    if len(ids) < len(made.structures) or not all(id.startswith(f"{task.shard}/") for id in ids):
        named = ", ".join(repr(one.id) for one in made.structures[:3])
        raise Internal(f"{service}'s generator must give each structure an id of its own, such as {task.shard}/0003; it gave {named}")


def resolve_task(request: GenerateRequest, generator: Generator) -> Task:
    """Fill in the defaults of a request; refuse by name what the generator does not know."""
    card = generator.metadata
    system: System = next(iter(card.systems)) if request.system is None else request.system
    elements = _choose_elements(request, card, system)
    limits = find_limits(card, system, elements)
    if too_many := _find_too_many(card, request.n):
        raise Unsupported(f"{too_many}; ask several times with other seeds")
    low, high = _size_range(request, limits, f"{card.service}'s {system}")
    task = Task(
        n=request.n,
        seed=request.seed,
        shard=request.shard or f"{card.service}-{request.seed}",
        system=system,
        elements=elements,
        min_atoms=low,
        max_atoms=high,
        perturb=request.perturb,
        options=validate_message(generator.options[system], request.options, "options"),
        pool_slice=request.pool_slice,
    )
    generator.check(task)
    return task


def _choose_elements(request: GenerateRequest, card: Metadata, system: System) -> tuple[str, ...]:
    """Those that the request names; of the default ones those that the service makes, or all that it makes where it makes none of them."""
    if "elements" in request.model_fields_set or system not in card.systems:
        return request.elements
    known = card.systems[system].elements
    return tuple(element for element in request.elements if element in known) or known


def find_limits(card: Metadata, system: System, elements: tuple[str, ...]) -> SystemCard:
    """A service's limits for a system; Unsupported names the system or the elements that it can't make."""
    if system not in card.systems:
        raise Unsupported(f"{card.service} cannot make a {system}; it makes {', '.join(card.systems)}")
    limits = card.systems[system]
    _refuse_foreign(card, limits, elements)
    return limits


def check_request(request: GenerateRequest, generator: Generator) -> RequestCheck:
    """What keeps a generator from a request, and whether what it makes may be charged: as its options say."""
    faults = tuple(find_faults(request, generator))
    return RequestCheck(faults=faults, may_be_charged=not faults and _may_be_charged(request, generator))


def _may_be_charged(request: GenerateRequest, generator: Generator) -> bool:
    system: System = next(iter(generator.metadata.systems)) if request.system is None else request.system
    options = generator.options[system].model_validate(request.options)
    return isinstance(options, ChargeOptions) and options.may_be_charged


def find_faults(request: GenerateRequest, generator: Generator) -> list[RequestFault]:
    """All that keeps a generator from a request, as far as it is known; what only a loaded one knows is left out until it is."""
    card = generator.metadata
    system: System = next(iter(card.systems)) if request.system is None else request.system
    if system not in card.systems:
        return [_fault("system", f"{card.service} cannot make a {system}; it makes {', '.join(card.systems)}")]
    limits, faults = card.systems[system], list[RequestFault]()
    for key, check in (
        ("elements", lambda: _refuse_foreign(card, limits, _choose_elements(request, card, system))),
        ("atoms", lambda: _size_range(request, limits, f"{card.service}'s {system}")),
    ):
        try:
            check()
        except (InvalidRequest, Unsupported) as problem:
            faults.append(_fault(key, problem.detail))
    if too_many := _find_too_many(card, request.n):
        faults.append(_fault("n", too_many))
    faults += _find_option_faults(request, generator.options[system])
    if not faults:
        try:
            resolve_task(request, generator)
        except (InvalidRequest, NotFound, Unsupported) as problem:
            faults.append(_place_option_fault(problem.detail))
        except Unavailable:  # it is not loaded, or files are missing: its readiness tells that
            pass
    return faults


def _find_option_faults(request: GenerateRequest, model: type[Message]) -> list[RequestFault]:
    try:
        model.model_validate(request.options)
    except ValidationError as error:
        return [RequestFault(key=("options", *at), message=message) for at, message in explain(error, model)]
    return []


def _place_option_fault(detail: str) -> RequestFault:
    """A refusal by the generator itself, which may begin `options.<name>: `."""
    named = re.match(r"options\.(\w+): ", detail)
    return _fault("options", detail) if named is None else RequestFault(key=("options", named[1]), message=detail[named.end() :])


def _fault(key: str, message: str) -> RequestFault:
    return RequestFault(key=(key,), message=message)


def _refuse_foreign(card: Metadata, limits: SystemCard, elements: tuple[str, ...]) -> None:
    foreign = [e for e in elements if e not in limits.elements]
    if foreign:
        raise Unsupported(f"{card.service} cannot make {' '.join(foreign)}; it knows {' '.join(limits.elements)}")


def _find_too_many(card: Metadata, n: int) -> str | None:
    return f"{card.service} makes at most {card.n_max} structures in one request, got n = {n}" if n > card.n_max else None


def _size_range(request: GenerateRequest, limits: SystemCard, whose: str) -> tuple[int, int]:
    low = (
        request.min_atoms if request.min_atoms is not None else min(limits.default_min_atoms, request.max_atoms or limits.default_min_atoms)
    )
    high = request.max_atoms if request.max_atoms is not None else max(limits.default_max_atoms, low)
    if low > high:
        raise InvalidRequest(f"min_atoms must not exceed max_atoms, got {low} and {high}")
    if not limits.spans(low, high):
        raise Unsupported(f"{whose} has {limits.min_atoms}-{limits.max_atoms} atoms, asked for {low}-{high}")
    return low, high
