"""Structures over HTTP: what a client sent, or got, is whole in each form."""

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from distillery.errors import InvalidRequest, TooLarge
from distillery.runtime.limits import LARGEST_STRUCTURE_JSON
from gateway.formats import MEDIA_TYPES, Format, _find_text, open_writer, read_structures
from tests.structures import water

ORIGINS: list[Mapping[str, Any]] = [{}, {"smiles": "C/C=C\\[N+]"}, {"said": 'it\'s "Å" {x}', "hkl": [1, 0, 0], "parent": {"id": "a/1"}}]


@pytest.mark.parametrize("format", list(MEDIA_TYPES))
@pytest.mark.parametrize("origin", ORIGINS)
def test_where_a_structure_is_from_comes_back_in_each_form(format: Format, origin: Mapping[str, Any]) -> None:
    wanted = [replace(water("w/0"), origin=origin), replace(water("w/1"), origin={})]
    writer = open_writer(format, {"service": "fake", "version": "1", "licence": ""})
    found = read_structures(writer.write(wanted) + writer.end({"requested": 2}), MEDIA_TYPES[format])
    assert [structure.origin for structure in found] == [dict(origin), {}]


@pytest.mark.parametrize(
    ("comment", "origin"),
    [("", {}), ('origin="{}"', {}), ("origin=mp-149", {"info": {"origin": "mp-149"}}), ("origin=7", {"info": {"origin": 7}})],
)
def test_an_origin_of_another_program_is_kept_as_what_it_says(comment: str, origin: Mapping[str, Any]) -> None:
    (found,) = read_structures(f"1\nProperties=species:S:1:pos:R:3 {comment}\nHe 0 0 0\n".encode(), MEDIA_TYPES["extxyz"])
    assert found.origin == origin


@pytest.mark.parametrize("state", ["charge", "multiplicity"])
@pytest.mark.parametrize("value", [2**31, 10**4000])
def test_a_charge_or_spin_that_no_stream_can_carry_is_refused(state: str, value: int) -> None:
    row = {"id": "a", "numbers": [1], "positions": [[0, 0, 0]], "cell": [[0, 0, 0]] * 3, "pbc": [False] * 3, "system": "molecule"}
    body = json.dumps({"structures": [{**row, "origin": {}, state: 1}]}).replace(f'"{state}": 1', f'"{state}": {value}')
    with pytest.raises(InvalidRequest, match=f"structures.0.{state}"):
        read_structures(body.encode(), MEDIA_TYPES["json"])


@pytest.mark.parametrize("id", ["0001", "1.50", "T", "1e5", "run 1/a", "C:\\data\\1", 'the "best"', "ends\\", "Å"])
def test_an_id_comes_back_from_extended_xyz_as_it_was(id: str) -> None:
    text = open_writer("extxyz", {}).write([replace(water("w"), id=id, origin={"said": "x id=7 y"})])
    assert read_structures(text, MEDIA_TYPES["extxyz"])[0].id == id


@pytest.mark.parametrize("id", ["", "a\nb", "a\tb", "a\u2028b"], ids=repr)
def test_an_id_that_is_no_line_of_text_is_refused(id: str) -> None:
    """In extended XYZ it would be other lines, or another id."""
    body = open_writer("arrow", {}).write([replace(water("w"), id=id)])
    with pytest.raises(InvalidRequest, match="an id is printable text"):
        read_structures(body, MEDIA_TYPES["arrow"])


def test_a_long_comment_line_takes_no_long_time() -> None:
    start = time.monotonic()
    for filler in ("a" * 1_000_000, "a={ " * 250_000, "a= " * 300_000, " " * 1_000_000 + "a"):
        comment = f"id=1 {filler}"
        assert _find_text(comment, "id") == "1"
    assert time.monotonic() - start < 20, "0.5 s on a machine at rest; hours where each place is tried anew"


def test_json_that_would_keep_all_others_waiting_is_too_large() -> None:
    body = bytearray(b'{"structures": [' + b" " * LARGEST_STRUCTURE_JSON + b"]}")
    with pytest.raises(TooLarge, match="these have 8388626; send application"):
        read_structures(body, "application/json")
