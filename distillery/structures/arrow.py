"""Structure batches as Arrow IPC streams (application/vnd.apache.arrow.stream) and, for people, as JSON."""

import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa

from distillery.errors import InvalidRequest, TooLarge
from distillery.runtime.canonical_json import canonical_json
from distillery.runtime.limits import LARGEST_METADATA, LARGEST_ORIGINS, MOST_STRUCTURES
from distillery.structures.arrow_messages import refuse_packed
from distillery.structures.structure import SYSTEMS, Structure, System

ARROW_TYPE = "application/vnd.apache.arrow.stream"

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("numbers", pa.list_(pa.field("item", pa.uint8(), nullable=False)), nullable=False),
        pa.field(
            "positions",
            pa.list_(pa.field("item", pa.list_(pa.field("item", pa.float64(), nullable=False), 3), nullable=False)),
            nullable=False,
        ),
        pa.field("cell", pa.list_(pa.field("item", pa.float64(), nullable=False), 9), nullable=False),
        pa.field("pbc", pa.list_(pa.field("item", pa.bool_(), nullable=False), 3), nullable=False),
        pa.field("system", pa.string(), nullable=False),
        pa.field("origin", pa.string(), nullable=False),
    ]
)
STATE_SCHEMA = pa.schema([*SCHEMA, pa.field("charge", pa.int32(), nullable=False), pa.field("multiplicity", pa.int32(), nullable=False)])
"""With charge and spin multiplicity (0: the lowest); streams without them hold structures that are neutral and of the lowest spin."""
_METADATA_KEY = b"distillery"
_HASHES_KEY = b"distillery.structure_hashes"
_PIECE = 5_000
_HASH = re.compile("[0-9a-f]{32}")


def to_arrow(structures: Sequence[Structure], metadata: Mapping[str, Any] | None = None, hashes: Sequence[str] | None = None) -> bytes:
    """One Arrow IPC stream with one record batch; `metadata` (JSON-able) and `hashes`, one a structure, travel in the schema.

    The columns `charge` and `multiplicity` are there only if a structure has either.
    """
    notes = {_METADATA_KEY: canonical_json(dict(metadata or {})).encode()}
    columns = STATE_SCHEMA if any(s.charge or s.multiplicity for s in structures) else SCHEMA
    schema = columns.with_metadata(notes if hashes is None else {**notes, _HASHES_KEY: " ".join(hashes).encode()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(make_batch(structures, schema))
    return bytes(sink.getvalue())


class ArrowStream:
    """An Arrow IPC stream that is written piece by piece, a record batch each; as later ones may be charged, charges are always there."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self._schema = STATE_SCHEMA.with_metadata({_METADATA_KEY: canonical_json(dict(metadata)).encode()})
        self._sink = io.BytesIO()
        self._writer = pa.ipc.new_stream(self._sink, self._schema)

    def write(self, structures: Sequence[Structure]) -> bytes:
        """The next bytes of the stream; the first come with its head."""
        self._writer.write_batch(make_batch(structures, self._schema))
        return self._take()

    def end(self) -> bytes:
        """The last bytes."""
        self._writer.close()
        return self._take()

    def _take(self) -> bytes:
        written = self._sink.getvalue()
        self._sink.seek(0)
        self._sink.truncate()
        return written


def make_batch(structures: Sequence[Structure], schema: pa.Schema) -> pa.RecordBatch:
    """Structures as one record batch; `schema` is SCHEMA or STATE_SCHEMA, with whatever metadata."""
    n_atoms = [len(s) for s in structures]
    offsets = pa.array(np.concatenate([[0], np.cumsum(n_atoms)]).astype(np.int32))
    numbers = np.concatenate([s.numbers for s in structures]) if structures else np.zeros(0, np.uint8)
    positions = np.concatenate([s.positions for s in structures]) if structures else np.zeros((0, 3))
    cells = np.stack([s.cell for s in structures]) if structures else np.zeros((0, 3, 3))
    pbc = np.array([s.pbc for s in structures], dtype=bool).reshape(-1)
    types = {f.name: f.type for f in SCHEMA}
    columns = [
        pa.array([s.id for s in structures], pa.string()),
        pa.ListArray.from_arrays(offsets, pa.array(numbers), type=types["numbers"]),
        pa.ListArray.from_arrays(
            offsets,
            pa.FixedSizeListArray.from_arrays(pa.array(positions.reshape(-1)), type=types["positions"].value_type),
            type=types["positions"],
        ),
        pa.FixedSizeListArray.from_arrays(pa.array(cells.reshape(-1)), type=types["cell"]),
        pa.FixedSizeListArray.from_arrays(pa.array(pbc), type=types["pbc"]),
        pa.array([s.system for s in structures], pa.string()),
        pa.array([canonical_json(dict(s.origin)) for s in structures], pa.string()),
    ]
    if len(schema) > len(SCHEMA):
        columns += [pa.array([s.charge for s in structures], pa.int32()), pa.array([s.multiplicity for s in structures], pa.int32())]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def from_arrow(body: bytes | bytearray) -> tuple[list[Structure], dict[str, Any]]:
    """The structures and the metadata of an Arrow IPC stream; InvalidRequest if it is not a structure batch."""
    try:
        refuse_packed(body)
        with pa.ipc.open_stream(body) as reader:
            _require_schema(reader.schema)
            table = reader.read_all()
        table.validate(full=True)
        metadata = _read_metadata(table.schema)
    except (pa.ArrowException, ValueError, OSError, RecursionError) as error:
        raise InvalidRequest(f"the body is not an Arrow IPC stream of structures: {error}") from error
    if not isinstance(metadata, dict):
        raise InvalidRequest("the schema's metadata must be a JSON object")
    if table.num_rows == 0:
        return [], metadata
    if table.num_rows > MOST_STRUCTURES:
        raise TooLarge(f"a structure batch has at most {MOST_STRUCTURES} structures, this one has {table.num_rows}; send fewer at once")
    if (n_bytes := table.column("origin").nbytes) > LARGEST_ORIGINS:
        raise TooLarge(f"the origins of a structure batch have at most {LARGEST_ORIGINS} bytes, these have {n_bytes}; send fewer at once")
    (batch,) = table.combine_chunks().to_batches()
    empty = [name for name in batch.schema.names if _has_nulls(batch.column(name))]
    if empty:
        raise InvalidRequest(f"every row of a structure batch has all columns; {', '.join(empty)} holds null")
    return _rows(batch), metadata


def read_hashes(body: bytes | bytearray, n_structures: int) -> list[str] | None:
    """The structure hashes that a stream from `to_arrow` carries, None if it carries none; InvalidRequest if they are not one each."""
    with pa.ipc.open_stream(body) as reader:
        text = (reader.schema.metadata or {}).get(_HASHES_KEY)
    if text is None:
        return None
    hashes: list[str] = text.decode("ascii", "replace").split()
    if len(hashes) != n_structures or not all(_HASH.fullmatch(one) for one in hashes):
        raise InvalidRequest(f"{n_structures} structure hashes of 32 hex digits were wanted beside the structures, {len(hashes)} came")
    return hashes


def _read_metadata(schema: pa.Schema) -> Any:
    text = (schema.metadata or {}).get(_METADATA_KEY, b"{}")
    if len(text) > LARGEST_METADATA:
        raise TooLarge(f"the schema's metadata has at most {LARGEST_METADATA} bytes, this has {len(text)}; send fewer structures at once")
    return json.loads(text)


def _require_schema(schema: pa.Schema) -> None:
    if not schema.equals(SCHEMA) and not schema.equals(STATE_SCHEMA):
        raise InvalidRequest(
            f"a structure batch has the columns {_describe(SCHEMA)}, and may have {_describe(list(STATE_SCHEMA)[len(SCHEMA) :])} behind "
            f"them; got {_describe(schema)}"
        )


def _describe(schema: Iterable[pa.Field]) -> str:
    return ", ".join(f"{f.name}: {f.type}" + ("" if not f.nullable else " (nullable)") for f in schema)


def _has_nulls(array: pa.Array) -> bool:
    is_nested = pa.types.is_list(array.type) or pa.types.is_fixed_size_list(array.type)
    return bool(array.null_count) or (is_nested and _has_nulls(array.flatten()))


def _rows(batch: pa.RecordBatch) -> list[Structure]:
    number_offsets = batch.column("numbers").offsets.to_numpy()
    offsets = batch.column("positions").offsets.to_numpy()
    if not np.array_equal(np.diff(number_offsets), np.diff(offsets)):
        raise InvalidRequest("numbers and positions must have the same length in every row")
    numbers = batch.column("numbers").values.to_numpy()
    positions = batch.column("positions").values.values.to_numpy().reshape(-1, 3)
    cells = batch.column("cell").flatten().to_numpy().reshape(-1, 3, 3)
    pbc = batch.column("pbc").flatten().to_numpy(zero_copy_only=False).reshape(-1, 3)
    ids, systems, origins = (_list_texts(batch.column(name)) for name in ("id", "system", "origin"))
    charges, multiplicities = (_list_numbers(batch, name) for name in ("charge", "multiplicity"))
    unknown = sorted(set(systems) - set(SYSTEMS))
    if unknown:
        raise InvalidRequest(f"system must be one of {', '.join(SYSTEMS)}; got {unknown[0]!r}")
    return [
        Structure(
            id=ids[i],
            numbers=numbers[number_offsets[i] : number_offsets[i + 1]],
            positions=positions[offsets[i] : offsets[i + 1]],
            cell=cells[i],
            pbc=(bool(pbc[i, 0]), bool(pbc[i, 1]), bool(pbc[i, 2])),
            system=cast(System, systems[i]),
            origin=_origin(origins[i], ids[i]),
            charge=charges[i],
            multiplicity=multiplicities[i],
        )
        for i in range(batch.num_rows)
    ]


def _list_texts(column: pa.StringArray) -> list[str]:
    """The texts of a column, by pieces: a conversion lets no other thread run."""
    return [text for start in range(0, len(column), _PIECE) for text in column.slice(start, _PIECE).to_pylist()]


def _list_numbers(batch: pa.RecordBatch, name: str) -> list[int]:
    """The numbers of a column, zeros where a stream does not have it."""
    numbers: list[int] = batch.column(name).to_pylist() if name in batch.schema.names else [0] * batch.num_rows
    return numbers


def _origin(text: str, id: str) -> dict[str, Any]:
    """The origin, which must be such that it can be written again: no NaN, no half of a surrogate pair, not nested without end."""
    try:
        origin = json.loads(text)
        canonical_json(origin).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"origin of {id} is not JSON: {error}") from error
    if not isinstance(origin, dict):
        raise InvalidRequest(f"origin of {id} must be a JSON object, got {type(origin).__name__}")
    return origin


def to_json(structures: Sequence[Structure], metadata: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The same content as `to_arrow`, readable by a person."""
    rows = [
        {
            "id": s.id,
            "numbers": s.numbers.tolist(),
            "positions": s.positions.tolist(),
            "cell": s.cell.tolist(),
            "pbc": list(s.pbc),
            "system": s.system,
            "origin": dict(s.origin),
            **{name: value for name, value in (("charge", s.charge), ("multiplicity", s.multiplicity)) if value},
        }
        for s in structures
    ]
    return {"metadata": dict(metadata or {}), "structures": rows}
