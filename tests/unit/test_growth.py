"""Growth: a recipe that asks for more keeps every part, and one that would spoil a part is refused by name."""

import json
from itertools import pairwise
from typing import Any

import pytest

from distillery.errors import Conflict, InvalidRequest
from distillery.planning.plan import PartFacts, Plan, Shard
from distillery.recipe.growth import grow_recipe
from distillery.recipe.reading import parse_recipe
from distillery.recipe.recipe import Recipe
from tests.unit.test_plan import facts, plan_of, walk

TEXT = """
name: planned
seed: 5
teacher: 7net-0
shard_size: 10
sources:
  molecules: {service: rdkit, system: molecule, count: 25, atoms: [5, 20]}
  crystals: {service: pymatgen, system: crystal, count: 12}
"""
MORE = TEXT.replace("count: 25", "count: 40")
ADDED = MORE + "  slabs: {service: ase, system: surface, count: 7}\n"


def make(text: str, parts: dict[str, PartFacts] | None = None, least: int = 1) -> tuple[Plan, dict[str, PartFacts], list[str]]:
    """Plan to the end, parts that are there as they are; the names of those that were made."""
    known, made = dict(parts or {}), list[str]()
    for _ in range(100):
        plan = plan_of(parse_recipe(text), known)
        if plan.is_complete:
            return plan, known, made
        for shard in (shard for shard in plan.rounds[-1] if shard.name not in known):
            known[shard.name] = facts(shard, shard.n - (shard.n > least))
            made.append(shard.name)
    raise AssertionError("the plan does not end")


def requests(plan: Plan) -> dict[str, tuple[int, int, int]]:
    return {shard.name: (shard.n, shard.seed, shard.start) for shard in plan.shards()}


def test_more_of_a_source_keeps_every_part_and_makes_the_difference() -> None:
    first, parts, _ = make(TEXT)
    grown = grow_recipe(MORE, TEXT, parts)
    plan, _, made = make(grown, parts)
    assert set(parts).isdisjoint(made)
    assert {name: requests(plan)[name] for name in parts} == requests(first)
    assert plan.tallies["molecules"].kept == 40
    assert plan.tallies["crystals"].kept == 12
    assert all("molecules" in name for name in made)


def test_slices_of_a_pool_go_on_behind_those_that_were_taken() -> None:
    _, parts, _ = make(TEXT)
    plan, _, _ = make(grow_recipe(MORE, TEXT, parts), parts)
    spans = sorted((s.start, s.start + s.n) for s in plan.shards() if s.maker == "molecules")
    assert all(end == start for (_, end), (start, _) in pairwise(spans))


def test_a_source_may_be_added_and_what_grew_may_grow_again() -> None:
    _, parts, _ = make(TEXT)
    grown = grow_recipe(MORE, TEXT, parts)
    _, parts, _ = make(grown, parts)
    again = grow_recipe(ADDED, grown, parts)
    plan, _, made = make(again, parts)
    assert {name.split("-")[1] for name in made} == {"slabs"}
    assert len(parse_recipe(again).steps) == 2
    assert plan.tallies["slabs"].kept == 7


def test_stages_may_be_added() -> None:
    _, parts, _ = make(TEXT)
    staged = MORE + "stages: {pilot: {per_source: 3}, full: {wave: 20}}\n"
    plan, _, made = make(grow_recipe(staged, TEXT, parts), parts)
    assert plan.tallies["molecules"].kept == 40
    assert not any(name.startswith("pilot") for name in made)
    assert [c.position.stage for c in plan.checkpoints if c.position.step == 1 and c.ends_stage] == ["pilot", "full"]


def test_killed_in_the_middle_the_first_recipe_is_finished_first() -> None:
    whole, parts, _ = make(TEXT)
    some = {name: parts[name] for name in list(parts)[1:3]}
    plan, _, made = make(grow_recipe(MORE, TEXT, some), some)
    assert set(some).isdisjoint(made)
    again, _, _ = make(grow_recipe(MORE, TEXT, parts), parts)
    made_before = {name for name in requests(whole) if name.startswith("full-molecules")}
    assert {name: requests(plan)[name] for name in made_before} == {name: requests(again)[name] for name in made_before}


def test_a_source_without_a_part_may_be_changed_in_any_way() -> None:
    _, parts, _ = make(TEXT)
    some = {name: part for name, part in parts.items() if "molecules" in name}
    changed = TEXT.replace("service: pymatgen, system: crystal, count: 12", "service: ase, system: cluster, count: 3")
    plan, _, made = make(grow_recipe(changed, TEXT, some), some)
    assert {name.split("-")[1] for name in made} == {"crystals"}
    assert plan.tallies["crystals"].kept == 3


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seed: 5", "seed: 6", "seed is 6, it was 5"),
        ("teacher: 7net-0", "teacher: orb-v2", "teacher is orb-v2, it was 7net-0"),
        ("atoms: [5, 20]", "atoms: [5, 30]", "sources.molecules.atoms is [5,30], it was [5,20]"),
        ("count: 12", "count: 12, options: {a: 1}", 'sources.crystals.options is {"a":1}, it was {}'),
        ("count: 12", "count: 11", "sources.crystals would have 11 structures, it has up to 12"),
        ("crystals:", "salts:", "sources.crystals is gone"),
        ("shard_size: 10", "shard_size: 10\nperturb: {rattle: 0.1}", "sources.molecules.perturb is"),
        ("shard_size: 10", "shard_size: 10\nelements: [H, C]", "sources.molecules.elements is"),
        ("shard_size: 10", "shard_size: 10\nsample: {relax: {steps: 3}}", "sources.molecules.sample is"),
        ("shard_size: 10", "shard_size: 10\nlimits: {force: 20}", "sources.molecules.limits is"),
    ],
)
def test_what_would_spoil_parts_is_refused_by_name(old: str, new: str, said: str) -> None:
    _, parts, _ = make(TEXT)
    with pytest.raises(Conflict) as caught:
        grow_recipe(TEXT.replace(old, new), TEXT, parts)
    assert said in caught.value.detail
    assert "put the old value back" in caught.value.detail


def test_the_same_recipe_and_other_gates_are_no_growth() -> None:
    _, parts, _ = make(TEXT)
    assert grow_recipe(TEXT, TEXT, parts) == TEXT
    grown = grow_recipe(MORE, TEXT, parts)
    strict = MORE + "gates: {mean_atoms: {required: true}}\n"
    assert grow_recipe(MORE, grown, parts) == grown
    assert parse_recipe(grow_recipe(strict, grown, parts)).sha256 == parse_recipe(grown).sha256
    assert grow_recipe(grown, grown, parts) == grown


def test_a_history_that_is_not_the_datasets_own_is_refused() -> None:
    _, parts, _ = make(TEXT)
    grown = grow_recipe(MORE, TEXT, parts)
    with pytest.raises(Conflict, match="grew in another way"):
        grow_recipe(grown, TEXT, parts)


def test_a_recipe_in_json_grows_too() -> None:
    content: dict[str, Any] = parse_recipe(TEXT).model_dump(mode="json", exclude_defaults=True)
    _, parts, _ = make(TEXT)
    more = {**content, "sources": {**content["sources"], "crystals": {**content["sources"]["crystals"], "count": 20}}}
    grown = parse_recipe(grow_recipe(json.dumps(more), json.dumps(content), parts))
    assert (len(grown.steps), grown.counts()["crystals"]) == (1, 20)


def test_the_digest_tells_the_history_and_knows_that_of_every_step() -> None:
    _, parts, _ = make(TEXT)
    grown: Recipe = parse_recipe(grow_recipe(MORE, TEXT, parts))
    assert grown.sha256 != parse_recipe(MORE).sha256
    assert parse_recipe(TEXT).sha256 in grown.known_sha256
    assert parse_recipe(MORE).known_sha256 == {parse_recipe(MORE).sha256}


def test_a_history_with_sources_that_are_gone_is_no_recipe() -> None:
    _, parts, _ = make(TEXT)
    with pytest.raises(InvalidRequest, match="which are gone"):
        parse_recipe(grow_recipe(MORE, TEXT, parts).replace("  crystals: {service: pymatgen, system: crystal, count: 12}\n", "", 1))


def test_shards_say_which_recipe_they_were_planned_by() -> None:
    _, parts, _ = make(TEXT)
    plan, _, made = make(grow_recipe(MORE, TEXT, parts), parts)
    steps: dict[str, int] = {shard.name: shard.step for shard in _shards(plan)}
    assert {steps[name] for name in parts} == {0}
    assert {steps[name] for name in made} == {1}


def _shards(plan: Plan) -> list[Shard]:
    return list(plan.shards())


def test_walk_still_ends_where_nothing_grows() -> None:
    plan, _ = walk(parse_recipe(TEXT), lambda shard: facts(shard, shard.n))
    assert plan.step == 0
