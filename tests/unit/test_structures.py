"""Structure batches <-> Arrow <-> ASE are lossless, and bad ones are refused."""

import gc
import json
import random
import tracemalloc
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery.errors import InvalidRequest
from distillery.structures.arrow import SCHEMA, from_arrow, read_hashes, to_arrow, to_json
from distillery.structures.geometry import find_pairs
from distillery.structures.structure import Structure, from_ase, to_ase
from tests.structures import copper_slab, silicon, structures, water


def assert_same(a: Structure, b: Structure) -> None:
    assert a.id == b.id
    assert a.system == b.system
    assert a.pbc == b.pbc
    assert (a.charge, a.multiplicity) == (b.charge, b.multiplicity)
    assert dict(a.origin) == dict(b.origin)
    for one, other in ((a.numbers, b.numbers), (a.positions, b.positions), (a.cell, b.cell)):
        assert one.dtype == other.dtype
        assert one.tobytes() == other.tobytes()


@settings(max_examples=200)
@given(st.lists(structures(), max_size=4), st.dictionaries(st.text(max_size=4), st.integers(), max_size=2))
def test_arrow_gives_back_every_bit(batch: list[Structure], metadata: dict) -> None:
    back, back_metadata = from_arrow(to_arrow(batch, metadata))
    assert back_metadata == metadata
    assert len(back) == len(batch)
    for a, b in zip(batch, back, strict=True):
        assert_same(a, b)


@settings(max_examples=50)
@given(st.lists(structures(), max_size=3))
def test_the_same_batch_gives_the_same_bytes(batch: list[Structure]) -> None:
    assert to_arrow(batch) == to_arrow(batch)


@pytest.mark.parametrize("structure", [water(), silicon(), copper_slab()], ids=lambda s: s.id)
def test_ase_gives_back_every_bit(structure: Structure) -> None:
    atoms = to_ase(structure)
    assert_same(structure, from_ase(atoms, id=atoms.info["id"], system=atoms.info["system"], origin=atoms.info["origin"]))


def test_json_holds_the_same_content() -> None:
    row = json.loads(json.dumps(to_json([silicon()], {"service": "x"})))
    assert row["metadata"] == {"service": "x"}
    assert np.array_equal(row["structures"][0]["positions"], silicon().positions)


@pytest.mark.parametrize("body", [b"", b"nonsense", to_arrow([water()])[:-300], to_arrow([water()])[:40]])
def test_what_is_no_arrow_stream_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        from_arrow(body)


@settings(max_examples=300)
@given(st.data())
def test_flipped_bytes_never_crash(data: st.DataObject) -> None:
    body = bytearray(to_arrow([water(), silicon()]))
    for at in data.draw(st.lists(st.integers(0, len(body) - 1), min_size=1, max_size=4)):
        body[at] ^= data.draw(st.integers(1, 255))
    try:
        from_arrow(bytes(body))
    except InvalidRequest:
        return


def write(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def test_another_schema_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequest, match=r"numbers: list<item: uint8 not null>, .*; got id: string"):
        from_arrow(write(pa.table({"id": ["a"]})))


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_compressed_batches_are_refused_before_they_are_unpacked(codec: str) -> None:
    """50 MB of zeros: 5 kB of zstd."""
    big = Structure("big/0000", np.ones(2_000_000, np.uint8), np.zeros((2_000_000, 3)), system="cluster")
    table = pa.ipc.open_stream(to_arrow([big])).read_all()
    del big
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_table(table)
    body = bytes(sink.getvalue())
    assert len(body) < 1_000_000
    del table, sink, writer
    before = pa.total_allocated_bytes()
    peak = pa.default_memory_pool().max_memory()
    with pytest.raises(InvalidRequest, match="not compressed"):
        from_arrow(body)
    assert pa.total_allocated_bytes() - before < 1_000_000
    assert pa.default_memory_pool().max_memory() == peak


def test_several_batches_are_one() -> None:
    one, other = (pa.ipc.open_stream(to_arrow([s])).read_all() for s in (water(), silicon()))
    back, _ = from_arrow(write(pa.concat_tables([one, other])))
    assert [s.id for s in back] == [water().id, silicon().id]


def test_dictionaries_are_refused() -> None:
    table = pa.ipc.open_stream(to_arrow([water()])).read_all()
    table = table.set_column(5, "system", pa.array(["molecule"]).dictionary_encode())
    with pytest.raises(InvalidRequest, match="dictionary"):
        from_arrow(write(table))


def test_hashes_travel_beside_the_structures() -> None:
    hashes = ["0" * 32, "f" * 32]
    body = to_arrow([water(), silicon()], {"a": 1}, hashes)
    assert read_hashes(body, 2) == hashes
    assert from_arrow(body)[1] == {"a": 1}
    assert read_hashes(to_arrow([water()]), 1) is None
    assert read_hashes(to_arrow([], None, []), 0) == []
    for wrong in (["0" * 32], ["0" * 32, "f" * 31], ["0" * 32, "G" * 32], hashes * 2):
        with pytest.raises(InvalidRequest, match="2 structure hashes of 32 hex digits"):
            read_hashes(to_arrow([water(), silicon()], None, wrong), 2)


def test_many_mutations_of_a_stream_end_in_structures_or_an_invalid_request() -> None:
    """Bytes changed, cut, doubled and moved; what is taken can be written again."""
    whole, rng, n_taken = to_arrow([water(), silicon()], {"a": 1}, ["0" * 32] * 2), random.Random(13), 0
    for _ in range(600):
        body = bytearray(whole)
        for _ in range(rng.choice([1, 2, 8])):
            at, n = rng.randrange(len(body)), rng.choice([1, 4, 8, 64])
            piece = rng.choice([bytes(n), b"\xff" * n, rng.randbytes(n), bytes(body[rng.randrange(len(body)) :][:n])])
            body[at : at + rng.choice([0, n, len(piece)])] = piece
        try:
            to_arrow(from_arrow(bytes(body))[0])
            n_taken += 1
        except InvalidRequest:
            pass
    assert 0 < n_taken < 500


def test_lengths_that_disagree_are_refused() -> None:
    table = pa.ipc.open_stream(to_arrow([water(), silicon()])).read_all()
    columns = {name: table[name] for name in SCHEMA.names}
    columns["numbers"] = pa.chunked_array([columns["numbers"].combine_chunks().take(pa.array([1, 0]))])
    with pytest.raises(InvalidRequest, match="same length"):
        from_arrow(write(pa.table(columns, schema=SCHEMA)))


def test_an_unknown_system_is_refused() -> None:
    table = pa.ipc.open_stream(to_arrow([water()])).read_all()
    table = table.set_column(5, SCHEMA.field("system"), pa.array(["liquid"]))
    with pytest.raises(InvalidRequest, match="liquid"):
        from_arrow(write(table))


@pytest.mark.parametrize("name", SCHEMA.names)
def test_nulls_are_refused_by_column(name: str) -> None:
    table = pa.ipc.open_stream(to_arrow([water(), silicon()])).read_all()
    column = pa.array([None, table[name][1].as_py()], SCHEMA.field(name).type)
    columns = {field: column if field == name else table[field] for field in SCHEMA.names}
    with pytest.raises(InvalidRequest, match=f"{name} holds null"):
        from_arrow(write(pa.table(columns, schema=SCHEMA)))


def test_nulls_within_a_list_are_refused() -> None:
    table = pa.ipc.open_stream(to_arrow([water()])).read_all()
    table = table.set_column(1, SCHEMA.field("numbers"), pa.array([[8, None, 1]], SCHEMA.field("numbers").type))
    with pytest.raises(InvalidRequest, match="numbers holds null"):
        from_arrow(write(table))


@pytest.mark.parametrize(
    "origin",
    [
        pytest.param('{"a":NaN}', id="NaN"),
        pytest.param('{"a":1e999}', id="infinity"),
        pytest.param('{"a":"\\ud800"}', id="half a surrogate pair"),
        pytest.param('{"a":' * 100_000 + "1" + "}" * 100_000, id="nested without end"),
        pytest.param('{"a":' + 9999 * "1" + "}", id="a number without end"),
        pytest.param("[1]", id="no object"),
        pytest.param("", id="nothing"),
    ],
)
def test_an_origin_that_could_not_be_written_again_is_refused_by_id(origin: str) -> None:
    table = pa.ipc.open_stream(to_arrow([water()])).read_all()
    table = table.set_column(6, SCHEMA.field("origin"), pa.array([origin]))
    with pytest.raises(InvalidRequest, match=f"origin of {water().id}"):
        from_arrow(write(table))


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (float("nan"), None),
        (-float("inf"), None),
        (np.float32("nan"), None),
        (np.float64(0.5), 0.5),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.array([1.0, np.nan]), [1.0, None]),
        (np.zeros((0, 3)), []),
        ((1, {2: float("nan")}), [1, {"2": None}]),
        ("\ud800x", "?x"),
        ("é", "é"),
        (1 + 2j, None),
        (b"bytes", None),
        pytest.param(10**5000, None, id="5000 digits"),
    ],
)
def test_an_origin_is_made_such_that_json_can_carry_it(value: object, kept: object) -> None:
    made = Structure("a", np.array([1], np.uint8), np.zeros((1, 3)), origin={"value": value, "deep": {"er": [value]}})
    (back,), _ = from_arrow(to_arrow([made]))
    assert dict(back.origin) == dict(made.origin) == {"value": kept, "deep": {"er": [kept]}}
    assert json.loads(json.dumps(to_json([made]), allow_nan=False))["structures"][0]["origin"] == made.origin


def test_an_origin_nested_without_end_is_cut() -> None:
    nested: list = []
    nested.append(nested)
    made = Structure("a", np.array([1], np.uint8), np.zeros((1, 3)), origin={"value": nested})
    assert from_arrow(to_arrow([made]))[0][0].origin == made.origin


def test_metadata_nested_without_end_is_refused() -> None:
    table = pa.ipc.open_stream(to_arrow([water()])).read_all()
    with pytest.raises(InvalidRequest):
        from_arrow(write(table.replace_schema_metadata({b"distillery": b"[" * 100_000 + b"]" * 100_000})))


def test_wrong_shapes_are_refused_at_creation() -> None:
    with pytest.raises(ValueError, match="positions must be float64"):
        Structure("a", np.array([1], np.uint8), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="numbers must be uint8"):
        Structure("a", np.array([1]), np.zeros((1, 3)))


def test_neighbours_of_ever_new_numbers_leave_nothing_in_memory() -> None:
    """vesin's own arrays kept three types of ctypes for every number of pairs."""
    sizes = [replace(water(), numbers=np.ones(n, np.uint8), positions=np.zeros((n, 3)) + np.arange(n)[:, None] * 0.1) for n in range(2, 90)]
    find_pairs(sizes[0], 3.0)
    tracemalloc.start()
    for structure in sizes:
        find_pairs(structure, 9.0)
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 500 * len(sizes)
