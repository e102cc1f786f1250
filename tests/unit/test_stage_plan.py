"""Stages, waves and rebalancing: what comes next follows from the recipe and the parts, wherever a run was stopped."""

import random
from collections import Counter
from collections.abc import Callable, Mapping
from copy import deepcopy
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery.planning import planner
from distillery.planning.plan import Judgement, PartFacts, Plan, PlanPosition, Shard
from distillery.planning.planner import Judge, ResumablePlan, Screen, make_plan
from distillery.planning.waves import cut_waves
from distillery.recipe.reading import parse_recipe
from distillery.recipe.recipe import Recipe, StageName

STAGED = """
name: staged
seed: 5
teacher: 7net-0
shard_size: 10
stages: {pilot: {per_source: 4}, test: {total: 60}, full: {wave: 50}}
sources:
  models: {service: mattergen, system: crystal, count: 140, generative: true, attempts: 2, fallback: crystals}
  crystals: {service: pymatgen, system: crystal, count: 40}
  clusters: {service: ase, system: cluster, count: 20}
"""
RECIPE = parse_recipe(STAGED)
REBALANCED = parse_recipe(STAGED + "generative_fraction: 0.7\nrebalance: [0.5, 0.3]\n")
NO_GO = Judgement(("element_entropy (all)",))
Outcome = Callable[[Shard], PartFacts]


def whole(shard: Shard) -> PartFacts:
    ids = tuple(f"{shard.name}/{i:04d}" for i in range(shard.n))
    return PartFacts(ids, ids)


def judged(verdicts: Mapping[tuple[str, int], Judgement] | None = None) -> Judge:
    """GO, but for the ends of stages (stage, attempt) that are named."""

    def judge(plan: Plan, wanted: Mapping[str, int], position: PlanPosition) -> Judgement:
        return (verdicts or {}).get((position.stage, position.attempt), Judgement())

    return judge


def walk(
    recipe: Recipe,
    judge: Judge,
    outcome: Outcome = whole,
    parts: dict[str, PartFacts] | None = None,
    until: StageName = "full",
    screen: Screen = lambda plan: {},
) -> Plan:
    """Make every part as `outcome` says until the plan is complete; plans go on, as a run's do."""
    made = {} if parts is None else parts

    def look_up(shard: Shard) -> PartFacts | None:
        return made.get(shard.name)

    resumable = ResumablePlan(recipe, look_up, judge, until, screen)
    for _ in range(300):
        plan = resumable.go_on()
        if plan.is_complete:
            return plan
        made.update({shard.name: outcome(shard) for shard in plan.rounds[-1]})
    raise AssertionError("the plan does not end")


def kept(plan: Plan) -> dict[str, int]:
    return {name: tally.kept for name, tally in plan.tallies.items()}


def asked(plan: Plan) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for shard in plan.shards():
        found[shard.stage, shard.source] += shard.n
    return found


def test_every_stage_counts_on_from_the_one_before() -> None:
    plan = walk(RECIPE, judged())
    ends = [c for c in plan.checkpoints if c.ends_stage]
    assert [(c.position.stage, dict(c.wanted)) for c in ends] == [
        ("pilot", {"models": 4, "crystals": 4, "clusters": 4}),
        ("test", {"models": 42, "crystals": 12, "clusters": 6}),
        ("full", {"models": 140, "crystals": 40, "clusters": 20}),
    ]
    assert asked(plan) == {
        ("pilot", "models"): 4,
        ("pilot", "crystals"): 4,
        ("pilot", "clusters"): 4,
        ("test", "models"): 38,
        ("test", "crystals"): 8,
        ("test", "clusters"): 2,
        ("full", "models"): 98,
        ("full", "crystals"): 28,
        ("full", "clusters"): 14,
    }
    assert kept(plan) == {"models": 140, "crystals": 40, "clusters": 20}
    assert not any(plan.leave_out.values())


def test_shards_are_named_after_their_stage_and_have_seeds_of_their_own() -> None:
    shards = list(walk(RECIPE, judged()).shards())
    assert [s.name for s in shards[:3]] == ["pilot-models-00000", "pilot-crystals-00000", "pilot-clusters-00000"]
    assert all(s.name.startswith(f"{s.stage}-{s.source}-") for s in shards)
    assert len({s.name for s in shards}) == len({s.seed for s in shards}) == len(shards)


def test_a_source_that_owes_less_than_the_pilot_wants_gives_what_it_owes() -> None:
    recipe = parse_recipe(STAGED.replace("per_source: 4", "per_source: 30").replace("total: 60", "total: 90"))
    assert recipe.stage_counts("pilot") == {"models": 30, "crystals": 30, "clusters": 20}


def test_every_wave_is_of_all_sources_so_that_each_beginning_is_balanced() -> None:
    plan = walk(RECIPE, judged())
    waves = [c for c in plan.checkpoints if c.position.stage == "full"]
    assert [c.n_structures for c in waves] == [107, 154, 200]
    for checkpoint in waves:
        for name, owed in RECIPE.counts().items():
            assert abs(checkpoint.wanted[name] - owed * checkpoint.n_structures / 200) <= 1


@given(st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=1), st.integers(1, 300))
def test_waves_are_no_larger_than_said_and_end_at_the_target(ways: dict[str, tuple[int, int]], largest: int) -> None:
    start, target = ({name: way[k] for name, way in ways.items()} for k in (0, 1))
    waves = cut_waves(start, target, largest)
    sizes = [sum(wave.values()) for wave in waves]
    assert waves[-1] == target
    before = sum(min(start[name], target[name]) for name in ways)
    for size in sizes:
        assert size - before <= largest
        before = size


def test_a_long_wave_has_a_checkpoint_every_10000_structures() -> None:
    text = STAGED.replace("count: 140", "count: 56000").replace("count: 40", "count: 16000").replace("count: 20", "count: 8000")
    recipe = parse_recipe(text.replace("wave: 50", "wave: 40000").replace("shard_size: 10", "shard_size: 1000"))
    plan = walk(recipe, judged())
    full = [c for c in plan.checkpoints if c.position.stage == "full"]
    numbers = [60, *(c.n_structures for c in full)]
    assert max(after - before for before, after in pairwise(numbers)) <= 10000
    assert numbers[-1] == 80000
    assert {c.position.wave for c in full} == {1, 2}
    assert [c.ends_stage for c in full] == [False] * (len(full) - 1) + [True]
    assert len([shards for shards in plan.rounds if shards[0].stage == "full"]) == 2
    for checkpoint in full:
        assert checkpoint.wanted["models"] == pytest.approx(0.7 * checkpoint.n_structures, abs=10)


MANY_WAVES = parse_recipe(STAGED.replace("count: 140", "count: 4440").replace("shard_size: 10", "shard_size: 50"))
"""90 waves: 60 structures of the test, then 50 more each time."""


def test_of_many_waves_those_are_judged_and_screened_at_which_all_has_grown_by_a_twentieth() -> None:
    screened = list[int]()
    plan = walk(MANY_WAVES, judged(), screen=lambda plan: screened.append(sum(t.made for t in plan.tallies.values())) or {})
    full = [c for c in plan.checkpoints if c.position.stage == "full"]
    numbers = [60, *(c.n_structures for c in full)]
    assert (plan.n_waves, numbers[-1], len(full)) == (89, 4500, 43)
    assert all(after - before < 2 * 50 for before, after in pairwise(n for n in numbers if n < 1000)), "of the first twenty each is"
    assert all(after - before < 0.05 * before + 60 for before, after in pairwise(numbers))
    assert len(screened) == 1 + len(numbers), "the pilot before them"
    assert (full[-1].ends_stage, [c for c in full[:-1] if c.ends_stage]) == (True, [])


def test_what_a_wave_that_is_not_screened_has_of_outliers_is_made_up_for_later() -> None:
    def find_outliers(plan: Plan) -> dict[str, list[int]]:
        return {name: [0] for name in plan.planned_parts if name.startswith("full-models")}

    plan = walk(MANY_WAVES, judged(), screen=find_outliers)
    n_parts = sum(shard.stage == "full" and shard.source == "models" for shard in plan.shards())
    assert plan.tallies["models"].outliers == n_parts
    assert kept(plan) == MANY_WAVES.counts()
    befores = [planned.before for planned in plan.planned_parts.values() if planned.source == "models"]
    sizes = [len(planned.fresh) for planned in plan.planned_parts.values() if planned.source == "models"]
    assert befores == [0, *accumulate(sizes)][:-1]
    assert plan.tallies["models"].draws == [("models", n) for n in sizes]


@pytest.mark.parametrize(("stage", "after"), [("pilot", {"test", "full"}), ("test", {"full"})])
def test_no_go_stops_before_the_next_stage(stage: str, after: set[str]) -> None:
    plan = walk(RECIPE, judged({(stage, 0): NO_GO}))
    assert plan.is_complete
    assert plan.stage == stage
    assert not {shard.stage for shard in plan.shards()} & after
    assert plan.checkpoints[-1].judgement == NO_GO


def test_until_stops_after_a_stage_and_the_rest_is_the_same_later() -> None:
    parts: dict[str, PartFacts] = {}
    short = walk(RECIPE, judged(), parts=parts, until="test")
    assert short.stage == "test"
    assert sum(kept(short).values()) == 60
    n_parts = len(parts)
    long = walk(RECIPE, judged(), parts=parts)
    assert list(long.shards())[:n_parts] == list(short.shards())
    assert list(long.shards()) == list(walk(RECIPE, judged()).shards())


def test_rebalancing_goes_down_the_fractions_until_the_gates_are_passed() -> None:
    plan = walk(REBALANCED, judged({("test", 0): NO_GO, ("test", 1): NO_GO}))
    story = [(c.position.stage, c.position.attempt, c.fraction, c.judgement.is_go) for c in plan.checkpoints if c.ends_stage]
    assert story == [
        ("pilot", 0, 0.7, True),
        ("test", 0, 0.7, False),
        ("test", 1, 0.5, False),
        ("test", 2, 0.3, True),
        ("full", 2, 0.3, True),
    ]
    assert kept(plan)["models"] == 60
    assert sum(kept(plan).values()) == 200


def test_a_rebalanced_stage_is_topped_up_and_the_surplus_left_out() -> None:
    plan = walk(REBALANCED, judged({("test", 0): NO_GO}), until="test")
    assert kept(plan) == {"models": 30, "crystals": 20, "clusters": 10}
    assert asked(plan)["test", "models"] == 42 - 4
    assert asked(plan)["test", "crystals"] == 20 - 4
    assert plan.tallies["models"].surplus == 12
    assert sum(map(len, plan.leave_out.values())) == 12
    assert all(part.split("-")[1] == "models" for part, ids in plan.leave_out.items() if ids)


def test_surplus_of_a_rebalanced_test_serves_the_full_stage() -> None:
    plan = walk(REBALANCED, judged({("test", 0): NO_GO}))
    assert kept(plan) == {"models": 100, "crystals": 67, "clusters": 33}
    assert sum(n for (_, source), n in asked(plan).items() if source == "models") == 100
    assert not any(plan.leave_out.values())


def test_no_fraction_left_is_no_go() -> None:
    plan = walk(REBALANCED, judged({("test", attempt): NO_GO for attempt in range(3)}))
    assert plan.stage == "test"
    assert plan.attempt == 2
    assert {shard.stage for shard in plan.shards()} == {"pilot", "test"}


def test_what_other_shares_cannot_mend_is_not_rebalanced() -> None:
    slow = Judgement(("generation_seconds (models)",), is_for_good=True)
    assert walk(REBALANCED, judged({("test", 0): slow})).attempt == 0
    assert walk(REBALANCED, judged({("pilot", 0): NO_GO})).attempt == 0


def test_a_source_that_cannot_meet_the_pilot_gets_its_fallback_and_a_new_chance_in_the_test() -> None:
    plan = walk(RECIPE, judged(), lambda s: whole(s) if s.maker != "models" or s.stage != "pilot" else PartFacts((), ()))
    assert plan.tallies["models"].kept_by == {"crystals": 4, "models": 136}
    assert any(s.name == "pilot-models-via-crystals-00000" for s in plan.shards())


def lossy(shard: Shard) -> PartFacts:
    """Some structures are lost, some come twice; the same for the same shard."""
    rng = random.Random(shard.name)
    ids = [f"{shard.name}/{i:04d}" for i in range(shard.n) if rng.random() < 0.8]
    return PartFacts(tuple(ids), tuple(id if rng.random() < 0.95 else f"twin{rng.randint(0, 9)}" for id in ids))


@settings(max_examples=25)
@given(st.randoms(use_true_random=False), st.sets(st.tuples(st.sampled_from(["test", "full"]), st.integers(0, 2))))
def test_stopped_anywhere_and_made_in_any_order_it_ends_the_same(rng: random.Random, bad: set[tuple[str, int]]) -> None:
    judge = judged(dict.fromkeys(bad, NO_GO))
    straight_parts: dict[str, PartFacts] = {}
    straight = walk(REBALANCED, judge, lossy, straight_parts)
    crooked: dict[str, PartFacts] = {}
    while not (plan := make_plan(REBALANCED, lambda shard: crooked.get(shard.name), judge)).is_complete:
        pending = [shard for shard in plan.rounds[-1] if shard.name not in crooked]
        for shard in rng.sample(pending, rng.randint(1, len(pending))):
            crooked[shard.name] = lossy(shard)
    assert crooked == straight_parts
    assert list(plan.shards()) == list(straight.shards())
    assert plan.leave_out == straight.leave_out
    assert plan.checkpoints == straight.checkpoints


def test_any_beginning_of_the_parts_gives_the_same_next_shards() -> None:
    judge = judged({("test", 0): NO_GO})
    parts: dict[str, PartFacts] = {}
    whole_plan = walk(REBALANCED, judge, lossy, parts)
    names = [shard.name for shard in whole_plan.shards()]
    for n in range(len(names)):
        some = {name: parts[name] for name in names[:n]}
        plan = make_plan(REBALANCED, lambda shard, some=some: some.get(shard.name), judge)
        planned = list(plan.shards())
        assert planned == list(whole_plan.shards())[: len(planned)]
        assert len(planned) > n


def test_stretches_are_adjacent_over_stages_waves_rounds_other_shares_and_stand_ins() -> None:
    def outcome(shard: Shard) -> PartFacts:
        return PartFacts((), ()) if shard.maker == "models" and shard.stage == "full" else lossy(shard)

    plan = walk(REBALANCED, judged({("test", 0): NO_GO}), outcome)
    assert {(s.stage, s.source, s.maker) for s in plan.shards()} >= {("pilot", "models", "models"), ("full", "models", "crystals")}
    for maker in REBALANCED.sources:
        shards = [s for s in plan.shards() if s.maker == maker]
        assert [s.start for s in shards] == [0, *accumulate(s.n for s in shards)][:-1]


def test_without_stages_all_is_asked_for_at_once() -> None:
    text = STAGED.replace("stages: {pilot: {per_source: 4}, test: {total: 60}, full: {wave: 50}}", "").replace("140", "30000")
    plan = make_plan(parse_recipe(text), lambda shard: None, judged())
    assert len(plan.rounds) == 1
    assert sum(shard.n for shard in plan.rounds[0]) == 30060
    assert {shard.stage for shard in plan.rounds[0]} == {"full"}


def half(shard: Shard) -> PartFacts:
    """Every second structure is one that came before."""
    whole_part = whole(shard)
    return PartFacts(whole_part.ids, tuple(id if k % 2 else "again" for k, id in enumerate(whole_part.ids)))


@settings(max_examples=30)
@given(st.randoms(use_true_random=False), st.sampled_from([RECIPE, REBALANCED]), st.sampled_from([whole, half]))
def test_a_walk_that_goes_on_gives_the_plan_that_one_from_the_start_gives(rng: random.Random, recipe: Recipe, outcome: Outcome) -> None:
    parts: dict[str, PartFacts] = {}
    judge = judged({("test", 0): NO_GO})
    going_on = ResumablePlan(recipe, lambda shard: parts.get(shard.name), judge)
    for _ in range(500):
        plan = going_on.go_on()
        assert plan == make_plan(recipe, lambda shard: parts.get(shard.name), judge)
        if plan.is_complete:
            return
        missing = [shard for shard in plan.rounds[-1] if shard.name not in parts]
        parts.update({shard.name: outcome(shard) for shard in rng.sample(missing, rng.randint(1, len(missing)))})
    raise AssertionError("the plan does not end")


def test_a_plan_stays_as_it_was_while_its_walk_goes_on() -> None:
    parts: dict[str, PartFacts] = {}
    going_on = ResumablePlan(RECIPE, lambda shard: parts.get(shard.name), judged())
    first = going_on.go_on()
    before = deepcopy(first)
    parts.update({shard.name: whole(shard) for shard in first.rounds[-1]})
    assert going_on.go_on() != first
    assert first == before


def test_each_part_is_counted_once_however_often_one_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: Counter[str] = Counter()
    count = planner._Planner._count_part
    monkeypatch.setattr(planner._Planner, "_count_part", lambda self, shard, part: counted.update([shard.name]) or count(self, shard, part))
    parts: dict[str, PartFacts] = {}
    going_on = ResumablePlan(RECIPE, lambda shard: parts.get(shard.name), judged())
    while not (plan := going_on.go_on()).is_complete:
        missing = next(shard for shard in plan.rounds[-1] if shard.name not in parts)
        parts[missing.name] = whole(missing)
    assert set(counted.values()) == {1}
    assert len(counted) == len(parts)
