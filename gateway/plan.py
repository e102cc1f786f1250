"""The plan: a recipe and the parts so far give the next round of shards, and nothing else has a say.

A dataset is made in rounds. Round 0 asks every source for its count. What was rejected, failed or came twice is asked
for again in the next round, when every part of this one exists; so neither timing nor kills can change the plan.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from contract.identity import derive_seed
from gateway.recipe import Recipe, Source

STAGE = "full"
_LEAST_ACCEPTANCE = 0.1
"""A round asks at most for ten times what is missing, however bad the last one went."""


@dataclass(frozen=True)
class Shard:
    """A request to one service, and the part it becomes.

    name    <stage>-<source>-<index>, or <stage>-<source>-via-<maker>-<index> when a fallback makes it
    source  who owes the structures
    maker   the source whose service and options make them: `source` itself or its fallback
    n       how many structures are asked for
    """

    name: str
    source: str
    maker: str
    n: int
    seed: int
    round: int


@dataclass(frozen=True)
class PartFacts:
    """What the plan needs to know of a finished part.

    ids, hashes  of its labelled structures, in order
    note         why its source could not be used at all; empty if it could
    """

    ids: tuple[str, ...]
    hashes: tuple[str, ...]
    note: str = ""


@dataclass
class Tally:
    """What a source has so far: whom it asked for how many, and what came of it."""

    count: int
    asked: Counter[str] = field(default_factory=Counter)
    shards: Counter[str] = field(default_factory=Counter)
    kept_by: Counter[str] = field(default_factory=Counter)
    unusable: dict[str, str] = field(default_factory=dict)
    duplicates: int = 0
    surplus: int = 0

    @property
    def kept(self) -> int:
        """Structures that count."""
        return sum(self.kept_by.values())

    @property
    def missing(self) -> int:
        """Structures still owed."""
        return self.count - self.kept


@dataclass
class Plan:
    """The rounds so far, in plan order.

    rounds     all shards planned; the last round may be unfinished
    leave_out  ids to leave out of the dataset by part: duplicates and surplus
    is_complete  no further shard is needed or allowed
    """

    rounds: list[list[Shard]] = field(default_factory=list)
    tallies: dict[str, Tally] = field(default_factory=dict)
    leave_out: dict[str, tuple[str, ...]] = field(default_factory=dict)
    is_complete: bool = False

    def shards(self) -> Iterator[Shard]:
        """All shards in plan order."""
        for shards in self.rounds:
            yield from shards


def make_plan(recipe: Recipe, look_up: Callable[[str], PartFacts | None]) -> Plan:
    """Walk the rounds as far as `look_up` knows their parts."""
    plan = Plan(tallies={name: Tally(count) for name, count in recipe.counts().items()})
    seen: set[str] = set()
    while shards := _next_round(recipe, plan):
        plan.rounds.append(shards)
        facts = [look_up(shard.name) for shard in shards]
        if None in facts:
            return plan
        for shard, part in zip(shards, facts, strict=True):
            assert part is not None
            plan.leave_out[shard.name] = _select(shard, part, plan.tallies[shard.source], seen)
    plan.is_complete = True
    return plan


def _select(shard: Shard, part: PartFacts, tally: Tally, seen: set[str]) -> tuple[str, ...]:
    """The ids to leave out; first come in plan order, first kept."""
    left_out = []
    for id, structure_hash in zip(part.ids, part.hashes, strict=True):
        if structure_hash in seen:
            tally.duplicates += 1
        elif tally.missing <= 0:
            tally.surplus += 1
        else:
            seen.add(structure_hash)
            tally.kept_by[shard.maker] += 1
            continue
        left_out.append(id)
    if part.note:
        tally.unusable[shard.maker] = part.note
    return tuple(left_out)


def _next_round(recipe: Recipe, plan: Plan) -> list[Shard]:
    return [shard for name, source in recipe.sources.items() for shard in _next_shards(recipe, name, source, plan)]


def _next_shards(recipe: Recipe, name: str, source: Source, plan: Plan) -> list[Shard]:
    tally = plan.tallies[name]
    maker = find_maker(name, source, tally)
    if tally.missing <= 0 or maker is None:
        return []
    budget = _budget(source, tally) - tally.asked[maker]
    n = min(_ask_for(tally, maker), budget)
    shards = list(_cut(recipe, name, maker, n, len(plan.rounds), tally.shards[maker]))
    tally.asked[maker] += n
    tally.shards[maker] += len(shards)
    return shards


def find_maker(name: str, source: Source, tally: Tally) -> str | None:
    """Who is asked next: the source while it is usable and within its budget of attempts, then its fallback, then nobody."""
    makers = [name] if source.fallback is None else [name, source.fallback]
    for maker in makers:
        if maker not in tally.unusable and tally.asked[maker] < _budget(source, tally):
            return maker
    return None


def _budget(source: Source, tally: Tally) -> int:
    return int(source.attempts * tally.count)


def _ask_for(tally: Tally, maker: str) -> int:
    """As many as bring what is missing at the rate seen so far."""
    if not tally.asked[maker]:
        return tally.missing
    acceptance = max(tally.kept_by[maker] / tally.asked[maker], _LEAST_ACCEPTANCE)
    return -int(-tally.missing // acceptance)


def _cut(recipe: Recipe, source: str, maker: str, n: int, round: int, first: int) -> Iterator[Shard]:
    stem = f"{STAGE}-{source}" if maker == source else f"{STAGE}-{source}-via-{maker}"
    for k, size in enumerate(_sizes(n, recipe.shard_size)):
        index = first + k
        seed = derive_seed(recipe.seed, stem, index)
        yield Shard(f"{stem}-{index:05d}", source, maker, size, seed, round)


def _sizes(n: int, largest: int) -> Sequence[int]:
    """Equal sizes, at most `largest`, that add up to n."""
    n_shards = -(-n // largest)
    return [n // n_shards + (k < n % n_shards) for k in range(n_shards)]
