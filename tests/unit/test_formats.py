"""Structures over HTTP: what a client sent, or got, is whole in each form."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from gateway.formats import MEDIA_TYPES, Format, open_writer, read_structures
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
