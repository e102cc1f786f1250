"""What a plan consists of: shards, their parts, the tally of every source, and checkpoints."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from distillery.recipe.recipe import StageName
from distillery.structures.near_duplicates import Fingerprint


@dataclass(frozen=True)
class Shard:
    """A request to one service, and the part it becomes.

    name    <stage>-<source>-<index>, or <stage>-<source>-via-<maker>-<index> when a fallback makes it
    source  who owes the structures
    maker   the source whose service and options make them: `source` itself or its fallback
    n       how many structures are asked for
    start   how many were asked of the maker before, by all sources: where in its pool the shard's slice begins
    block   which block of the round it belongs to; each ends with a checkpoint
    probes  structures of it on which the teacher's physics is tried
    step    how many recipes the dataset had grown from when it was planned
    """

    name: str
    stage: StageName
    source: str
    maker: str
    n: int
    seed: int
    start: int
    round: int
    block: int = 0
    probes: int = 0
    step: int = 0


@dataclass(frozen=True)
class PartFacts:
    """What the plan needs to know of a finished part.

    ids, hashes  of its labelled structures, in order
    proposals    what each of them was made of, where a teacher made it; empty where structures are as they came
    fingerprints  of what each was made of, or its own; None where the part has none
    note         why its source could not be used at all; empty if it could
    is_outage    its service was not there; else it refused the request
    """

    ids: tuple[str, ...]
    hashes: tuple[str, ...]
    note: str = ""
    is_outage: bool = False
    proposals: tuple[str, ...] = ()
    fingerprints: tuple[Fingerprint | None, ...] = ()

    def identify(self, row: int) -> set[str]:
        """What a structure must not share with an earlier one: its hash, and the proposal and the frame that it is of."""
        return {self.hashes[row], *self.proposals[row : row + 1]}


@dataclass
class SourceTally:
    """What a source has so far: whom it asked for how many, and what came of it.

    count     how many it owes by the end of the wave at hand
    asked     structures asked for, by maker; `answered` those whose parts are there
    usable_by_maker  distinct structures that came of it, by maker
    draws     the same in plan order: (maker, structures) of every part
    """

    count: int = 0
    asked: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    shards: Counter[str] = field(default_factory=Counter)
    usable_by_maker: Counter[str] = field(default_factory=Counter)
    draws: list[tuple[str, int]] = field(default_factory=list)
    unusable: dict[str, str] = field(default_factory=dict)
    duplicates: int = 0
    outliers: int = 0

    def copy(self) -> "SourceTally":
        """The tally as it is now."""
        return replace(
            self,
            asked=self.asked.copy(),
            answered=self.answered.copy(),
            shards=self.shards.copy(),
            usable_by_maker=self.usable_by_maker.copy(),
            draws=list(self.draws),
            unusable=dict(self.unusable),
        )

    @property
    def made(self) -> int:
        """Distinct structures, counted or not."""
        return sum(self.usable_by_maker.values())

    @property
    def kept(self) -> int:
        """Structures that count: the first ones, as many as are owed."""
        return min(self.made, self.count)

    @property
    def surplus(self) -> int:
        """Structures beyond what is owed; a later wave may count them."""
        return self.made - self.kept

    @property
    def kept_by(self) -> Counter[str]:
        """The structures that count, by maker."""
        kept, room = Counter[str](), self.count
        for maker, n in self.draws:
            kept[maker] += min(n, room)
            room -= min(n, room)
        return +kept


@dataclass(frozen=True)
class PlannedPart:
    """A part in the plan.

    ids     of its labelled structures, in order
    before  distinct structures of its source in the parts before it
    fresh   which of its structures came for the first time and are no outliers, by their index in the part
    outliers  those whose energies proved to be far off, and in which round that was seen
    note    why its source could not be used at all; empty if it could
    """

    source: str
    ids: Sequence[str]
    before: int
    fresh: Sequence[int]
    outliers: Mapping[int, int] = field(default_factory=dict)
    note: str = ""

    def keep(self, wanted: Mapping[str, int]) -> Sequence[int]:
        """Which of its structures count where so many are wanted of each source."""
        return self.fresh[: max(wanted[self.source] - self.before, 0)]

    def leave_out(self, wanted: Mapping[str, int]) -> tuple[str, ...]:
        """The ids of the others: duplicates and surplus."""
        kept = set(self.keep(wanted))
        return tuple(id for k, id in enumerate(self.ids) if k not in kept)


@dataclass(frozen=True)
class PlanPosition:
    """Where in the plan something is judged: stage, how often its shares were changed, wave and block of it.

    step  how many recipes the dataset had grown from when it was
    """

    stage: StageName
    attempt: int
    wave: int
    block: int | None = None
    step: int = 0


@dataclass(frozen=True)
class Judgement:
    """What gates say.

    reasons      the required gates that are not passed
    is_for_good  other shares can't change what failed
    """

    reasons: tuple[str, ...] = ()
    is_for_good: bool = False

    @property
    def is_go(self) -> bool:
        """True if every required gate is passed."""
        return not self.reasons


@dataclass(frozen=True)
class Checkpoint:
    """What there was at a position, judged.

    n_waves     waves in this stage at these shares
    fraction    the generative fraction that the recipe gives for these shares
    ends_stage  the judgement decides how it goes on
    wanted      structures owed by every source
    n_structures  structures that count
    """

    position: PlanPosition
    n_waves: int
    fraction: float | None
    ends_stage: bool
    wanted: Mapping[str, int]
    n_structures: int
    judgement: Judgement


@dataclass
class Plan:
    """The rounds so far, in plan order.

    rounds       all shards planned; the last round may be unfinished
    planned_parts  the parts that are there, as far as they are without a gap
    step, stage, attempt, wave, n_waves  what is at hand
    checkpoints  in order
    is_complete  no further shard is needed or allowed
    """

    rounds: list[list[Shard]] = field(default_factory=list)
    tallies: dict[str, SourceTally] = field(default_factory=dict)
    planned_parts: dict[str, PlannedPart] = field(default_factory=dict)
    step: int = 0
    stage: StageName = "full"
    attempt: int = 0
    wave: int = 1
    n_waves: int = 1
    checkpoints: list[Checkpoint] = field(default_factory=list)
    is_complete: bool = False

    def copy(self) -> "Plan":
        """The plan as it is now, which stays so while the original goes on; what never changes is shared."""
        return replace(
            self,
            rounds=list(self.rounds),
            tallies={name: tally.copy() for name, tally in self.tallies.items()},
            planned_parts=dict(self.planned_parts),
            checkpoints=list(self.checkpoints),
        )

    def shards(self) -> Iterator[Shard]:
        """All shards in plan order."""
        for shards in self.rounds:
            yield from shards

    @property
    def outliers(self) -> dict[str, dict[str, int]]:
        """The ids of structures whose energies are far off, by part, with the round in which that was seen."""
        return {name: {planned.ids[row]: seen for row, seen in planned.outliers.items()} for name, planned in self.planned_parts.items()}

    @property
    def leave_out(self) -> dict[str, tuple[str, ...]]:
        """The ids to leave out of the dataset by part: duplicates, outliers and surplus."""
        wanted = {name: tally.count for name, tally in self.tallies.items()}
        return {name: planned.leave_out(wanted) for name, planned in self.planned_parts.items()}
