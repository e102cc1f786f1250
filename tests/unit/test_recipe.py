"""Recipes: counts that add up, and faults that name line, key and the nearest valid one."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.errors import InvalidRequest
from distillery.recipe.reading import parse_recipe, read_recipe
from distillery.recipe.shares import apportion

RECIPES = Path(__file__).parents[2] / "recipes"

GOOD = """\
name: small
seed: 1
teacher: 7net-0
elements: [H, C, N, O]
sources:
  molecules: {service: rdkit, system: molecule, count: 7, atoms: [10, 20]}
  crystals:
    service: pymatgen
    system: crystal
    count: 3
"""


def faults(text: str) -> list[dict]:
    with pytest.raises(InvalidRequest) as caught:
        parse_recipe(text, "r.yaml")
    return caught.value.extra.get("faults", [])


def fault(text: str) -> str:
    with pytest.raises(InvalidRequest) as caught:
        parse_recipe(text, "r.yaml")
    return caught.value.detail


def test_a_good_recipe_is_read() -> None:
    recipe = parse_recipe(GOOD)
    assert recipe.counts() == {"molecules": 7, "crystals": 3}
    assert recipe.sources["molecules"].atoms == (10, 20)


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "text"),
    [
        ("teacher:", "teecher:", 3, "teecher", "did you mean 'teacher'?"),
        ("count: 7", "cuont: 7", 6, "sources.molecules.cuont", "did you mean 'count'?"),
        ("system: crystal", "system: cristal", 9, "sources.crystals.system", "did you mean 'crystal'?"),
        ("count: 3", "count: three", 10, "sources.crystals.count", "got 'three'"),
        ("count: 3", "count: 3.5", 10, "sources.crystals.count", "got 3.5"),
        ("[H, C, N, O]", "[H, C, Nn, O]", 4, "elements.2", "'Nn' is not a chemical symbol"),
        ("seed: 1", "seed: -1", 2, "seed", "got -1"),
        ("seed: 1", "perturb: {ratle: 1}\nseed: 1", 2, "perturb.ratle", "did you mean 'rattle'?"),
        ("seed: 1", "stages: {pilot: {per_sorce: 3}}\nseed: 1", 2, "stages.pilot.per_sorce", "did you mean 'per_source'?"),
        ("seed: 1", "stages: {pilote: {}}\nseed: 1", 2, "stages.pilote", "did you mean 'pilot'?"),
        ("seed: 1", "stages: {full: {wave: 50000}}\nseed: 1", 2, "stages.full.wave", "less than or equal to 40000"),
        ("seed: 1", "stages: {test: {}}\nseed: 1", 2, "stages.test.total", "'total' is missing"),
        ("system: crystal", "", 7, "sources.crystals.system", "'system' is missing: molecule | crystal | cluster | surface"),
        ("[H, C, N, O]", "[H, C, H, N, O]", 4, "elements", "H is there twice"),
        ("count: 3", "count: 3\n    elements: [C, O, C, O]", 11, "sources.crystals.elements", "C O is there twice"),
        ("count: 7", "count: 7, perturb: {rattle: true}", 6, "sources.molecules.perturb.rattle", "a number is wanted; got True"),
        ("count: 7", "count: 7, attempts: true", 6, "sources.molecules.attempts", "a number is wanted; got True"),
        ("count: 7", "share: true", 6, "sources.molecules.share", "a number is wanted; got True"),
        ("seed: 1", "generative_fraction: true\nseed: 1", 2, "generative_fraction", "a number is wanted; got True"),
        ("seed: 1", "gates: {duplicates: {threshold: false}}\nseed: 1", 2, "gates.duplicates.threshold", "a number is wanted; got False"),
        ("seed: 1", "gates: {element_entropi: {}}\nseed: 1", 2, "gates.element_entropi", "did you mean 'element_entropy'?"),
    ],
)
def test_faults_name_line_key_and_the_nearest(old: str, new: str, line: int, key: str, text: str) -> None:
    found = faults(GOOD.replace(old, new))
    named = [f for f in found if f["key"] == key]
    assert named, found
    assert named[0]["line"] == line
    assert text in named[0]["message"]


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("seed: 1", "seed: 1\ntotal: 11", "counts of the sources add up to 10"),
        (", count: 7", "", "needs either count or share"),
        ("count: 7", "share: 0.7", "some of each"),
        ("count: 3", "count: 3\n    fallback: molecule", "did you mean 'molecules'?"),
        ("count: 3", "count: 3\n    fallback: molecules", "must make a crystal"),
        ("count: 3", "count: 3\n    elements: [Si]", "Si not there"),
        ("[10, 20]", "[20, 10]", "smallest, largest"),
        ("seed: 1", "seed: 1\nseed: 2", "given twice"),
        ("seed: 1", "seed: 1\ngenerative_fraction: 0.5", "generative"),
        ("seed: 1", "seed: 1\nrebalance: [0.5]", "generative"),
        ("count: 3", "count: 3\n    generative: true\nrebalance: [0.2, 0.3]", "0.3 comes after 0.2"),
        ("count: 3", "count: 3\n    generative: true\nrebalance: [0.3]", "0.3 comes after 0.3"),
        ("count: 3", "count: 3\n    generative: true\ngenerative_fraction: 0.7\nrebalance: [0.8]", "0.8 comes after 0.7"),
        ("seed: 1", "seed: 1\nstages: {test: {total: 10}}", "below the 10 of the whole"),
        ("sources:", "sources: [", "not YAML"),
        (
            "    count: 3\n",
            "    count: 3\nx: [1\n",
            "r.yaml is not YAML: expected ',' or ']', but got '<stream end>' while parsing a flow sequence, line 12",
        ),
        ("seed: 1", "seed: 1\ngates: {element_entropy: 9}", "must be a mapping with keys among "),
        ("atoms: [10, 20]", "atoms: 10", "must be a list; got 10"),
        ("seed: 1", "seed: !!int abc", "tags (!!int) are not allowed, line 2"),
        ("seed: 1", "seed: &a 1\ntotal: *a", "aliases"),
        ("count: 7", "count: 1000000000000", "10000000"),
        ("service: rdkit", "service: 'evil.example:80#'", "should match pattern"),
        ("service: rdkit", "service: labeller", "makes no structures"),
        ("count: 7", "count: 7, options: {x: .nan}", "JSON can't hold"),
        ("count: 7", 'count: 7, options: {x: "\\uD800"}', "JSON can't hold"),
    ],
)
def test_what_does_not_fit_together_is_said(old: str, new: str, text: str) -> None:
    assert text in fault(GOOD.replace(old, new))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("all", "all sources together"),
        *((name, "a number or truth value") for name in ("123", "1e5", "1_0", "nan", "inf", "infinity", "true")),
    ],
)
def test_a_source_is_not_named_like_something_else(name: str, text: str) -> None:
    (found,) = faults(GOOD.replace("crystals:", f'"{name}":'))
    assert (found["line"], found["key"]) == (7, f"sources.{name}")
    assert text in found["message"]


GENERATIVE = GOOD.replace("count: 3", "count: 3\n    generative: true")


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        (GOOD.replace("[10, 20]", "[20, 10]"), 6, "sources.molecules.atoms"),
        (GOOD.replace("    count: 3\n", ""), 7, "sources.crystals"),
        (GOOD.replace("count: 3", "count: 3\n    options: {x: .nan}"), 11, "sources.crystals.options"),
        (GOOD.replace("count: 3", "count: 3\n    elements: [Si]"), 11, "sources.crystals.elements"),
        (GOOD.replace("count: 3", "count: 3\n    fallback: molecules"), 11, "sources.crystals.fallback"),
        (GOOD.replace("count: 7", "share: 0.7"), 5, "sources"),
        (GOOD + "total: 11\n", 11, "total"),
        (GOOD + "generative_fraction: 0.5\n", 11, "generative_fraction"),
        (GOOD + "rebalance: [0.5]\n", 11, "rebalance"),
        (GENERATIVE + "rebalance:\n- 0.2\n- 0.3\n", 14, "rebalance.1"),
        (GOOD + "stages:\n  test:\n    total: 10\n", 13, "stages.test.total"),
    ],
)
def test_what_does_not_fit_together_has_a_line_and_a_key(text: str, line: int, key: str) -> None:
    (found,) = faults(text)
    assert (found["line"], found["key"]) == (line, key)


def test_all_sources_that_do_not_fit_are_named_at_once() -> None:
    text = GOOD.replace("count: 7", "count: 7, fallback: crystals").replace("count: 3", "count: 3\n    fallback: crystal")
    assert [found["key"] for found in faults(text)] == ["sources.molecules.fallback", "sources.crystals.fallback"]


def test_a_test_holds_its_pilot() -> None:
    stages = GOOD + "stages: {pilot: {per_source: 2}, test: {total: 3}}\n"
    assert "must be at least the 4 of the pilot and below the 10 of the whole, got 3" in fault(stages)
    assert parse_recipe(stages.replace("total: 3", "total: 4")).stage_counts("pilot") == {"molecules": 2, "crystals": 2}


def test_text_that_is_no_mapping_is_refused() -> None:
    for text in ("", "[1]", "just words", "[" * 3000):
        assert fault(text)


def test_whole_numbers_are_numbers() -> None:
    assert parse_recipe(GOOD + "perturb: {rattle: 0, share: 1}\n").perturb.share == 1.0


def test_nobelium_and_nitrogen_are_elements_not_booleans() -> None:
    assert parse_recipe(GOOD.replace("[H, C, N, O]", "[H, C, N, No, Y]")).elements == ("H", "C", "N", "No", "Y")


def test_shares_are_apportioned() -> None:
    text = GOOD.replace("count: 7", "share: 0.65").replace("count: 3", "share: 0.35") + "total: 9\n"
    assert parse_recipe(text).counts() == {"molecules": 6, "crystals": 3}


def test_generative_fraction_rescales() -> None:
    text = GOOD.replace("count: 3", "count: 3\n    generative: true")
    assert parse_recipe(text + "generative_fraction: 0.5\n").counts() == {"molecules": 5, "crystals": 5}


@given(st.integers(0, 10**6), st.dictionaries(st.text(max_size=3), st.floats(0.01, 100), min_size=1, max_size=6))
def test_apportioned_counts_add_up_and_are_near_their_weight(total: int, weights: dict[str, float]) -> None:
    counts = apportion(total, weights)
    assert sum(counts.values()) == total
    for name, count in counts.items():
        assert abs(count - total * weights[name] / sum(weights.values())) <= 1


def test_comments_and_gates_do_not_change_the_identity_but_options_do() -> None:
    base = parse_recipe(GOOD).sha256
    assert parse_recipe("# a comment\n" + GOOD).sha256 == base
    assert parse_recipe(GOOD + "gates: {duplicates: {required: false}}\n").sha256 == base
    assert parse_recipe(GOOD.replace("atoms: [10, 20]", "atoms: [10, 21]")).sha256 != base
    assert parse_recipe(GOOD.replace("seed: 1", "seed: 2")).sha256 != base


STAGED = GOOD.replace("count: 3", "count: 3\n    generative: true") + "stages: {pilot: {per_source: 2}, test: {total: 5}}\n"


def test_stages_are_in_order_and_full_is_always_the_last() -> None:
    assert parse_recipe(GOOD).stage_names == ("full",)
    assert parse_recipe(STAGED).stage_names == ("pilot", "test", "full")
    assert parse_recipe(GOOD + "stages: {test: {total: 5}}\n").stage_names == ("test", "full")


def test_the_counts_of_stages_follow_the_shares() -> None:
    recipe = parse_recipe(STAGED + "generative_fraction: 0.6\nrebalance: [0.2]\n")
    assert [recipe.stage_counts(stage) for stage in recipe.stage_names] == [
        {"molecules": 2, "crystals": 2},
        {"molecules": 2, "crystals": 3},
        {"molecules": 4, "crystals": 6},
    ]
    assert recipe.stage_counts("test", 1) == {"molecules": 4, "crystals": 1}
    assert recipe.counts(1) == {"molecules": 8, "crystals": 2}


def test_gates_belong_to_the_identity_where_they_may_change_the_shares() -> None:
    gates, own = "gates: {duplicates: {required: false}}\n", "total: 5, gates: {duplicates: {required: false}}"
    for text, counts in ((STAGED, False), (STAGED + "rebalance: [0.2]\n", True)):
        base = parse_recipe(text).sha256
        assert (parse_recipe(text + gates).sha256 != base) is counts
        assert (parse_recipe(text.replace("total: 5", own)).sha256 != base) is counts


def test_a_recipe_without_stages_is_what_it_was_before_there_were_any() -> None:
    assert parse_recipe(GOOD).sha256 == "0285c65a9451b2addd80d3345a042c8078061d85e1f75e64a52626044eb9db20"
    assert parse_recipe(STAGED).sha256 != parse_recipe(STAGED.replace("total: 5", "total: 6")).sha256


@pytest.mark.parametrize(("name", "total"), [("hybrid-5k", 5000), ("hybrid-120k", 120_000)])
def test_the_hybrid_recipes_add_up_and_every_model_has_a_stand_in(name: str, total: int) -> None:
    recipe, _ = read_recipe(RECIPES / f"{name}.yaml")
    assert sum(recipe.counts().values()) == total
    assert {s.service for s in recipe.sources.values() if s.generative} == {"mattergen", "crystalflow", "moldiff", "geodiff"}
    for source in recipe.sources.values():
        if source.generative:
            assert source.fallback is not None
            assert recipe.sources[source.fallback].service in {"rdkit", "pymatgen"}


@pytest.mark.parametrize(
    ("text", "came"), [("", "nothing: it is empty"), ("# a comment", "nothing: it is empty"), ("- a", "a list"), ("word", "a text")]
)
def test_what_is_no_mapping_is_said_in_plain_words(text: str, came: str) -> None:
    with pytest.raises(InvalidRequest, match=f"a recipe is a mapping with the keys name, .*; got {came}"):
        parse_recipe(text)
