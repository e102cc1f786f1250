"""YAML 1.2: values are what they look like, faults have their line, and no text takes long."""

import random
import time
from pathlib import Path

import pytest

from distillery.errors import InvalidRequest
from distillery.recipe.reading import parse_recipe
from distillery.runtime.yaml import LARGEST_DEPTH, NotYaml, read_lines

RECIPE = (Path(__file__).parents[2] / "recipes" / "quickstart.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("+3", 3),
        ("0b1", "0b1"),
        ("1:30", "1:30"),
        ("12:30:45", "12:30:45"),
        ("1_000", "1_000"),
        ("1_0.5", "1_0.5"),
        ("yes", "yes"),
        ("No", "No"),
        ("off", "off"),
        ("Y", "Y"),
        ("True", True),
        ("2026-11-29", "2026-11-29"),
        ("2026-11-29 10:00:00", "2026-11-29 10:00:00"),
        ("5e-2", 0.05),
        (".5", 0.5),
        ("1.", 1.0),
        ("-.inf", -float("inf")),
        ("~", None),
        ("''", ""),
        ("'010'", "010"),
        ("=", "="),
        ("<<", "<<"),
        ('"\\ud83d\\ude00"', "😀"),
        ('"\\u2028"', "\u2028"),
    ],
)
def test_a_value_is_what_yaml_1_2_says(text: str, value: object) -> None:
    assert read_lines(f"a: {text}\n") == ({"a": value}, {(): 1, ("a",): 1})
    found = read_lines(f"- {text}")[0][0]
    assert type(found) is type(value)


def test_every_place_has_its_line() -> None:
    value, lines = read_lines("# first\na:\n  - 1\n  - {b: 2,\n     c: 3}\nd: x\n")
    assert value == {"a": [1, {"b": 2, "c": 3}], "d": "x"}
    assert lines == {
        (): 2, ("a",): 2, ("a", 0): 3, ("a", 1): 4, ("a", 1, "b"): 4, ("a", 1, "c"): 5, ("d",): 6,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "# nothing", "\n\n"])
def test_a_text_without_a_value_holds_none(text: str) -> None:
    assert read_lines(text)[0] is None


def test_a_mark_of_byte_order_is_no_part_of_the_first_key() -> None:
    assert read_lines("\ufeffname: x")[0] == {"name": "x"}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: 1\nb: 2\na: 3", "key 'a' is given twice, line 3"),
        ("a: &x 1\nb: *x", r"aliases \(\*x\) are not allowed, line 2"),
        ('a: !!int ""', r"tags \(!!int\) are not allowed, line 1"),
        ("a:\n  !!set {x}", r"tags \(!!set\) are not allowed, line 2"),
        ("!foo a: 1", "tags"),
        ("!!python/object:os.system {}", "tags"),
        ("[a]: 1", "keys must be plain text, line 1"),
        ("a\n---\nb", "a second document begins, line 3"),
        ("a: " + 5000 * "9", "limit .* line 1"),
        ("a: x\nb: y\u2028", r"line 2 holds the character U\+2028"),
        ("a: 'x\u0085y'", r"U\+0085"),
        ("a: [1", r", line 1$"),
        ("a: \x00", "not allowed"),
        ("a: b: c", r", line 1$"),
        (60 * "[" + 60 * "]", "deeper than 50 levels, line 1"),
        ("".join(" " * k + "a:\n" for k in range(60)), "deeper than 50 levels, line 51"),
        (100_001 * "- 1\n", "more than 100000 values, line 100000"),
        (4_000_001 * " ", "at most 4000000"),
    ],
)
def test_what_is_not_taken_is_said_with_its_line(text: str, fault: str) -> None:
    with pytest.raises(NotYaml, match=fault):
        read_lines(text)


def test_as_deep_as_the_limit_is_fine() -> None:
    assert read_lines(LARGEST_DEPTH * "[" + LARGEST_DEPTH * "]")[0]


MEGABYTE = 1_000_000


@pytest.mark.parametrize("piece", ["[", "{", "[a,", "{a: ", "- ", "? ", "!", "!<", "*a ", "%T ", "|", ": ", '"', "]"])
def test_a_megabyte_of_what_opens_is_refused_at_once(piece: str) -> None:
    start = time.process_time()
    with pytest.raises(NotYaml):
        read_lines(piece * (MEGABYTE // len(piece)))
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize("text", ["[" * 5000, "!!set {a}", 'name: !!int ""', "name: &a [*a]", "\x00", "? [a]\n: b", "..."])
def test_such_a_recipe_is_an_invalid_request(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_recipe(text)


def test_changed_bytes_of_a_recipe_never_end_in_another_error() -> None:
    """A recipe with a few characters changed is a recipe, or refused as an invalid request."""
    rng, n_refused = random.Random(13), 0
    for _ in range(200):
        characters = list(RECIPE)
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(characters))
            characters[at] = rng.choice(["[", "]", "{", "}", ":", "\n", "-", "!", "&", "*", "|", "'", '"', "\0", "é", "\t", "0", ""])
        try:
            parse_recipe("".join(characters))
        except InvalidRequest:
            n_refused += 1
    assert 100 < n_refused < 200


@pytest.mark.parametrize("digits", ["0x" + "f" * 5000, "0o" + "7" * 5000, "9" * 5000], ids=["hexadecimal", "octal", "decimal"])
def test_a_number_too_long_for_any_message_is_refused_with_its_line(digits: str) -> None:
    with pytest.raises(InvalidRequest, match="line 2"):
        parse_recipe(f"name: small\nseed: {digits}\n")
