"""The plan is a pure function of the recipe and the parts, whatever the order in which parts arrived."""

from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate

import numpy as np
import pytest
from ase.build import molecule
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery.planning.plan import Judgement, PartFacts, Plan, Shard
from distillery.planning.planner import make_plan
from distillery.planning.waves import cut_evenly, cut_waves
from distillery.recipe.reading import parse_recipe
from distillery.recipe.recipe import Recipe
from distillery.report.summary import describe_scenario
from distillery.structures.near_duplicates import make_fingerprint
from distillery.structures.structure import from_ase

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


@settings(max_examples=60)
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


@pytest.mark.parametrize(
    ("twins", "n_duplicates"),
    [({}, 0), ({"full-molecules-00001": "full-molecules-00000"}, 8), ({"full-molecules-00002": "full-spare-00000"}, 0)],
)
def test_duplicates_are_counted_for_the_source_whose_part_came_later(twins: dict[str, str], n_duplicates: int) -> None:
    plan, _ = walk(RECIPE, lambda s: facts(s, s.n, twins.get(s.name, "")))
    assert plan.tallies["molecules"].duplicates == n_duplicates
    assert plan.tallies["spare"].duplicates == (5 if "full-spare-00000" in twins.values() else 0)


def test_twins_within_a_part_and_frames_of_one_proposal_are_counted() -> None:
    def outcome(shard: Shard) -> PartFacts:
        made = facts(shard, shard.n)
        if shard.name == "full-molecules-00000":
            return PartFacts(made.ids, (*made.hashes[:8], made.hashes[0]), proposals=("p0", "p1", "p1", *made.ids[3:]))
        return made

    plan, _ = walk(RECIPE, outcome)
    assert list(plan.planned_parts["full-molecules-00000"].fresh) == [0, 1, 3, 4, 5, 6, 7]
    assert plan.tallies["molecules"].duplicates == 2
    assert plan.tallies["molecules"].kept == 25


def test_copies_with_noise_are_found_over_the_dataset_and_frames_of_one_proposal_are_none() -> None:
    """A source whose second proposal is another source's first with noise; a teacher made two frames of it."""
    ethanol, methanol = (from_ase(molecule(name), id="", system="molecule") for name in ("CH3CH2OH", "CH3OH"))
    noise = np.random.default_rng(0).normal(scale=3e-3, size=(9, 3))
    first, copy, other = map(make_fingerprint, (ethanol, replace(ethanol, positions=ethanol.positions + noise), methanol))

    def outcome(shard: Shard) -> PartFacts:
        made = facts(shard, shard.n)
        if shard.name == "full-molecules-00000":
            return replace(made, fingerprints=(first, *(None,) * (shard.n - 1)))
        if shard.name != "full-spare-00000":
            return made
        ids = tuple(f"{shard.name}/{place}" for place in ("0000/0", "0000/1", "0001/0", "0001/1", "0002/0"))
        return PartFacts(ids, made.hashes, fingerprints=(other, other, copy, copy, None))

    plan, _ = walk(RECIPE, outcome)
    assert list(plan.planned_parts["full-spare-00000"].fresh) == [0, 1, 4]
    assert plan.tallies["spare"].duplicates == 2


@pytest.mark.parametrize(
    ("shares", "n_asked"),
    [
        ([1.0], [100]),
        ([0.75], [100, 34]),
        ([0.5, 0.25, 1.0], [100, 100, 67]),  # of 200 came 75
        ([0.1], [100, 900]),
        ([0.05], [100, 950]),  # at most ten for one
    ],
)
def test_a_round_asks_for_what_is_missing_at_the_rate_seen_so_far(shares: list[float], n_asked: list[int]) -> None:
    text = "name: n\nseed: 1\nteacher: 7net-0\nshard_size: 1000\nsources: {a: {service: ase, system: cluster, count: 100, attempts: 50}}\n"
    plan, _ = walk(parse_recipe(text), lambda s: facts(s, max(int(s.n * shares[min(s.round, len(shares) - 1)]), 1)))
    assert [sum(shard.n for shard in shards) for shards in plan.rounds][: len(n_asked)] == n_asked


def test_of_every_source_a_few_structures_are_probed_at_first_and_then_one_of_every_25th_shard() -> None:
    text = "name: n\nseed: 1\nteacher: 7net-0\nshard_size: 1\nsources: {a: {service: ase, system: cluster, count: 52}}\n"
    (shards,) = plan_of(parse_recipe(text), {}).rounds
    assert [(k, shard.probes) for k, shard in enumerate(shards) if shard.probes] == [(0, 2), (25, 1), (50, 1)]


def plan_with_outliers(recipe: Recipe, outliers: Callable[[Plan], dict[str, list[int]]]) -> Plan:
    parts: dict[str, PartFacts] = {}
    for _ in range(100):
        plan = make_plan(recipe, lambda shard: parts.get(shard.name), let_pass, screen=outliers)
        if plan.is_complete:
            return plan
        parts.update({shard.name: facts(shard, shard.n) for shard in plan.rounds[-1]})
    raise AssertionError("the plan does not end")


def test_outliers_count_no_more_and_as_many_others_are_asked_for() -> None:
    def screen(plan: Plan) -> dict[str, list[int]]:
        return {"full-molecules-00001": [7, 2], "full-spare-00000": [0]}

    plan = plan_with_outliers(RECIPE, screen)
    molecules, spare = plan.tallies["molecules"], plan.tallies["spare"]
    assert [(s.name, s.n) for s in plan.rounds[1]] == [("full-molecules-00003", 3), ("full-spare-00001", 2)]
    assert (molecules.outliers, molecules.kept, spare.outliers, spare.kept) == (2, 25, 1, 5)
    assert (molecules.duplicates, spare.duplicates) == (0, 0)
    assert molecules.draws == [("molecules", 9), ("molecules", 6), ("molecules", 8), ("molecules", 3)]
    assert molecules.usable_by_maker == {"molecules": 26}
    assert list(plan.planned_parts["full-molecules-00001"].fresh) == [0, 1, 3, 4, 5, 6]
    assert plan.outliers["full-molecules-00001"] == {"full-molecules-00001/0002": 1, "full-molecules-00001/0007": 1}
    assert [part.before for name, part in plan.planned_parts.items() if part.source == "molecules"] == [0, 9, 15, 23]
    assert [part.before for name, part in plan.planned_parts.items() if part.source == "spare"] == [0, 4]
    assert plan.leave_out["full-molecules-00001"] == ("full-molecules-00001/0002", "full-molecules-00001/0007")


def test_an_outlier_that_was_left_out_before_is_not_left_out_twice() -> None:
    seen: list[int] = []

    def screen(plan: Plan) -> dict[str, list[int]]:
        seen.append(len(plan.rounds))
        return {"full-molecules-00000": [0], **({"full-molecules-00003": [0]} if len(plan.rounds) > 1 else {})}

    plan = plan_with_outliers(RECIPE, screen)
    assert max(seen) == 2
    assert plan.tallies["molecules"].outliers == 2
    assert plan.tallies["molecules"].kept == 25
    assert plan.outliers["full-molecules-00000"] == {"full-molecules-00000/0000": 1}
    assert plan.outliers["full-molecules-00003"] == {"full-molecules-00003/0000": 2}


def test_a_twin_that_is_an_outlier_is_no_outlier_of_its_own() -> None:
    def screen(plan: Plan) -> dict[str, list[int]]:
        return {"full-molecules-00001": [1]}

    parts: dict[str, PartFacts] = {}
    while not (plan := make_plan(RECIPE, lambda shard: parts.get(shard.name), let_pass, screen=screen)).is_complete:
        for shard in plan.rounds[-1]:
            parts[shard.name] = facts(shard, shard.n, "full-molecules-00000" if shard.name == "full-molecules-00001" else "")
    assert plan.tallies["molecules"].outliers == 0
    assert plan.tallies["molecules"].duplicates == 8


def test_where_a_teacher_makes_several_frames_of_a_proposal_as_many_fewer_are_asked_for() -> None:
    text = (
        "name: n\nseed: 1\nteacher: 7net-0\nshard_size: 100\nsources:\n"
        "  a: {service: ase, system: cluster, count: 10, sample: {md: {steps: 40, every: 10}, keep: 4}}\n"
    )
    plan = plan_of(parse_recipe(text), {})
    assert [shard.n for shard in plan.rounds[0]] == [3]


@pytest.mark.parametrize(
    ("n", "largest", "sizes"), [(25, 10, [9, 8, 8]), (10, 10, [10]), (11, 10, [6, 5]), (1, 10, [1]), (30, 10, [10, 10, 10])]
)
def test_shards_are_of_even_sizes(n: int, largest: int, sizes: list[int]) -> None:
    assert cut_evenly(n, largest) == sizes


@pytest.mark.parametrize(
    ("start", "target", "largest", "waves"),
    [
        ({"a": 0, "b": 0}, {"a": 6, "b": 3}, None, [{"a": 6, "b": 3}]),
        ({"a": 0, "b": 0}, {"a": 6, "b": 3}, 9, [{"a": 6, "b": 3}]),
        ({"a": 0, "b": 0}, {"a": 6, "b": 3}, 8, [{"a": 3, "b": 2}, {"a": 6, "b": 3}]),
        ({"a": 9, "b": 0}, {"a": 6, "b": 4}, 2, [{"a": 6, "b": 2}, {"a": 6, "b": 4}]),
        ({"a": 2, "b": 0}, {"a": 6, "b": 0}, 2, [{"a": 4, "b": 0}, {"a": 6, "b": 0}]),
    ],
)
def test_waves_add_to_what_is_there(
    start: dict[str, int], target: dict[str, int], largest: int | None, waves: list[dict[str, int]]
) -> None:
    assert cut_waves(start, target, largest) == waves
