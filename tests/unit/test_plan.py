"""The plan is a pure function of the recipe and the parts, whatever the order in which parts arrived."""

from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery.planning.plan import Judgement, PartFacts, Plan, Shard
from distillery.planning.planner import make_plan
from distillery.recipe.recipe import Recipe, parse_recipe
from distillery.report.summary import describe_scenario

RECIPE = parse_recipe(
    """
name: planned
seed: 5
teacher: 7net-0
shard_size: 10
sources:
  molecules: {service: rdkit, system: molecule, count: 25, fallback: spare, attempts: 2}
  spare: {service: ase, system: molecule, count: 5}
"""
)


def facts(shard: Shard, kept: int, twin_of: str = "", note: str = "") -> PartFacts:
    ids = tuple(f"{shard.name}/{i:04d}" for i in range(kept))
    return PartFacts(ids, tuple(f"{twin_of or shard.name}#{i}" for i in range(kept)), note)


def let_pass(*_: object) -> Judgement:
    return Judgement()


def plan_of(recipe: Recipe, parts: dict[str, PartFacts]) -> Plan:
    return make_plan(recipe, lambda shard: parts.get(shard.name), let_pass)


def walk(recipe: Recipe, outcome) -> tuple[Plan, dict[str, PartFacts]]:
    """Make every part as `outcome(shard)` says until the plan is complete."""
    parts: dict[str, PartFacts] = {}
    for _ in range(100):
        plan = plan_of(recipe, parts)
        if plan.is_complete:
            return plan, parts
        for shard in plan.rounds[-1]:
            parts[shard.name] = outcome(shard)
    raise AssertionError("the plan does not end")


def test_all_goes_well_in_one_round() -> None:
    plan, _ = walk(RECIPE, lambda s: facts(s, s.n))
    assert [[(s.name, s.n) for s in shards] for shards in plan.rounds] == [
        [("full-molecules-00000", 9), ("full-molecules-00001", 8), ("full-molecules-00002", 8), ("full-spare-00000", 5)]
    ]
    assert plan.tallies["molecules"].kept == 25
    assert not any(plan.leave_out.values())


def test_names_and_seeds_are_unique() -> None:
    plan, _ = walk(RECIPE, lambda s: facts(s, s.n // 2))
    shards = list(plan.shards())
    assert len({s.name for s in shards}) == len({s.seed for s in shards}) == len(shards)


def test_what_is_missing_is_asked_for_again_until_the_count_is_met() -> None:
    plan, _ = walk(RECIPE, lambda s: facts(s, s.n - 1))
    assert plan.tallies["molecules"].kept == 25
    assert plan.tallies["spare"].kept == 5
    assert len(plan.rounds) > 1


def test_a_spent_budget_turns_to_the_fallback() -> None:
    plan, _ = walk(RECIPE, lambda s: facts(s, 0 if s.maker == "molecules" else s.n))
    tally = plan.tallies["molecules"]
    assert tally.asked["molecules"] == 50
    assert tally.kept_by == {"spare": 25}
    assert any(s.name.startswith("full-molecules-via-spare-") for s in plan.shards())


@pytest.mark.parametrize(("made", "name", "n"), [(0, "A", []), (5, "B", [25])])
def test_the_scenario_names_stand_ins_that_gave_something(made: int, name: str, n: list[int]) -> None:
    plan, _ = walk(RECIPE, lambda s: facts(s, 0 if s.maker == "molecules" else min(made, s.n)))
    assert plan.tallies["molecules"].answered["spare"]
    scenario = describe_scenario(plan)
    assert scenario.name == name
    assert [row.n_structures for row in scenario.stand_ins] == n


def test_an_unusable_source_turns_to_the_fallback_at_once() -> None:
    plan, _ = walk(RECIPE, lambda s: facts(s, 0, note="away") if s.maker == "molecules" else facts(s, s.n))
    assert plan.tallies["molecules"].asked["molecules"] == 25
    assert plan.tallies["molecules"].kept == 25


def test_without_a_fallback_the_count_stays_short() -> None:
    plan, _ = walk(RECIPE, lambda s: facts(s, 0 if s.source == "spare" else s.n))
    assert plan.tallies["spare"].kept == 0
    assert plan.tallies["spare"].asked["spare"] == 15


def test_duplicates_across_shards_are_left_out_first_come_in_plan_order() -> None:
    twin = {"full-molecules-00001": "full-molecules-00000", "full-spare-00000": "full-molecules-00000"}
    plan, _ = walk(RECIPE, lambda s: facts(s, s.n, twin.get(s.name, "")))
    assert plan.leave_out["full-molecules-00000"] == ()
    assert len(plan.leave_out["full-molecules-00001"]) == 8
    assert len(plan.leave_out["full-spare-00000"]) == 5
    assert plan.tallies["molecules"].kept == 25
    assert plan.tallies["spare"].kept == 5


def test_surplus_is_left_out() -> None:
    plan, _ = walk(RECIPE, lambda s: facts(s, s.n if s.round else s.n - 1))
    assert plan.tallies["molecules"].kept == 25
    assert plan.tallies["molecules"].surplus == 1
    assert sum(len(ids) for ids in plan.leave_out.values()) == 2


def test_what_is_asked_of_a_maker_are_adjacent_stretches_whoever_asks() -> None:
    plan, _ = walk(RECIPE, lambda s: facts(s, 0 if s.maker == "molecules" else s.n - 1))
    assert any(s.source == "molecules" and s.maker == "spare" for s in plan.shards())
    for maker in RECIPE.sources:
        shards = [s for s in plan.shards() if s.maker == maker]
        assert [s.start for s in shards] == [0, *accumulate(s.n for s in shards)][:-1]


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False), st.data())
def test_the_order_of_arrival_changes_nothing(random, data: st.DataObject) -> None:
    losses = data.draw(st.dictionaries(st.sampled_from(["molecules", "spare"]), st.integers(0, 10)))
    twins = data.draw(st.booleans())

    def outcome(shard: Shard) -> PartFacts:
        return facts(shard, max(shard.n - losses.get(shard.maker, 0), 0), "same" if twins else "")

    straight, parts = walk(RECIPE, outcome)
    crooked: dict[str, PartFacts] = {}
    while not (plan := plan_of(RECIPE, crooked)).is_complete:
        pending = [s for s in plan.rounds[-1] if s.name not in crooked]
        shard = random.choice(pending)
        crooked[shard.name] = outcome(shard)
    assert crooked == parts
    assert plan.leave_out == straight.leave_out
    assert list(plan.shards()) == list(straight.shards())


@pytest.mark.parametrize("seed", [6, 7])
def test_another_seed_of_the_recipe_gives_other_seeds(seed: int) -> None:
    other = RECIPE.model_copy(update={"seed": seed})
    mine = {s.seed for s in plan_of(RECIPE, {}).shards()}
    assert mine.isdisjoint({s.seed for s in plan_of(other, {}).shards()})
