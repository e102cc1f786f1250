"""Hugging Face datasets: Parquet with a row a structure, a file or more a side, README.md and croissant.json beside it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from distillery.dataset.blocks import Block, read_blocks
from distillery.dataset.folder import CARD, CROISSANT
from distillery.dataset.layout import ATOMIC_ENERGIES, open_dataset
from distillery.dataset.splits import Side
from distillery.report.card.croissant import describe_files, write_croissant
from distillery.report.card.facts import read_facts
from distillery.report.card.readme import write_readme

Rows = NDArray[np.int64]
SPLITS: Mapping[Side, str] = {"train": "train", "val": "validation", "test": "test"}
"""The Hub's names of the sides."""
SHARD_SIZE = 50_000
"""Structures a file."""
FILES = ("data/*.parquet", CARD, CROISSANT)
_TYPES: Mapping[str, str] = {
    "id": "sc:Text",
    "source": "sc:Text",
    "system": "sc:Text",
    "origin": "sc:Text",
    "n_atoms": "sc:Integer",
    "energy": "sc:Float",
}
"""What Croissant calls the columns that hold one value a row."""
_TRIPLE, _SIX, _FORCE = pa.list_(pa.float64(), 3), pa.list_(pa.float64(), 6), pa.list_(pa.float32(), 3)
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "source", "system", "origin")),
        ("n_atoms", pa.int32()),
        ("atomic_numbers", pa.list_(pa.uint8())),
        ("positions", pa.list_(_TRIPLE)),
        ("cell", pa.list_(_TRIPLE, 3)),
        ("pbc", pa.list_(pa.bool_(), 3)),
        ("energy", pa.float64()),
        ("forces", pa.list_(_FORCE)),
        ("stress", _SIX),
    ]
)


_STATE = [("charge", pa.int32()), ("spin", pa.int32())]
"""In datasets with charges or spins: the total charge, e, and the spin multiplicity."""


def make_schema(dataset: Path) -> pa.Schema:
    """The columns of a dataset's rows: `SCHEMA`, and what it has beyond that."""
    with open_dataset(dataset) as file:
        has_state, has_atomic = "structures/charges" in file, ATOMIC_ENERGIES in file
    return pa.schema([*SCHEMA, *(_STATE if has_state else []), *([("atomic_energies", pa.list_(pa.float64()))] if has_atomic else [])])


def write_side(folder: Path, side: Side, dataset: Path, rows: Rows) -> None:
    """Write the Parquet files of a side below `folder`/data. stress is null where it has no meaning."""
    place, split = folder / "data", SPLITS[side]
    place.mkdir(exist_ok=True)
    n_shards, schema = -(-len(rows) // SHARD_SIZE), make_schema(dataset)
    for number in range(n_shards):
        path = place / f"{split}-{number:05d}-of-{n_shards:05d}.parquet"
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for block in read_blocks(dataset, rows[number * SHARD_SIZE : (number + 1) * SHARD_SIZE]):
                writer.write_table(to_table(block, schema))


def to_table(block: Block, schema: pa.Schema = SCHEMA) -> pa.Table:
    """A block as a table of a schema of `make_schema`."""
    offsets = pa.array(block.splits, pa.int32())
    by_atom = {"positions": _pack(block.positions, _TRIPLE), "forces": _pack(block.forces, _FORCE)}
    columns = {name: pa.array(block.texts[name], pa.string()) for name in ("id", "source", "system", "origin")}
    columns |= {
        "n_atoms": pa.array(block.n_atoms, pa.int32()),
        "atomic_numbers": pa.ListArray.from_arrays(offsets, pa.array(block.numbers, pa.uint8())),
        **{name: pa.ListArray.from_arrays(offsets, values) for name, values in by_atom.items()},
        "cell": pa.FixedSizeListArray.from_arrays(_pack(block.cells.reshape(-1, 3), _TRIPLE), 3),
        "pbc": _pack(block.pbc, pa.list_(pa.bool_(), 3)),
        "energy": pa.array(block.energy),
        "stress": pa.FixedSizeListArray.from_arrays(pa.array(block.stress.ravel()), 6, mask=pa.array(~block.has_stress)),
    }
    if block.charge is not None and block.spin is not None:
        columns |= {"charge": pa.array(block.charge), "spin": pa.array(block.spin)}
    if block.atomic_energies is not None:
        columns["atomic_energies"] = pa.ListArray.from_arrays(
            offsets, pa.array(block.atomic_energies), mask=pa.array(~block.has_atomic_energies)
        )
    return pa.table([columns[name].cast(schema.field(name).type) for name in schema.names], schema=schema)


def _pack(values: NDArray[Any], kind: pa.FixedSizeListType) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), kind.value_type), kind.list_size)


def write_cards(folder: Path, dataset: Path, sides: Mapping[Side, Rows]) -> None:
    """Write README.md and croissant.json of a folder whose sides are written."""
    facts = read_facts(dataset)
    patterns = {SPLITS[side]: f"data/{SPLITS[side]}-*.parquet" for side in sides}
    loading = {"datasets": 'from datasets import load_dataset\n\nstructures = load_dataset("PATH-OR-NAME")  # the path of this folder'}
    (folder / CARD).write_text(write_readme(facts, loading, patterns), encoding="utf-8")
    files = describe_files(*sorted((folder / "data").iterdir()), folder=folder, media_type="application/x-parquet")
    (folder / CROISSANT).write_text(write_croissant(facts, files, [_describe_records(file["@id"]) for file in files]), encoding="utf-8")


def _describe_records(file: str) -> dict[str, Any]:
    """The columns of a file that Croissant has types for."""
    name = Path(file).stem
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{name}/{column}",
                "name": column,
                "dataType": kind,
                "source": {"fileObject": {"@id": file}, "extract": {"column": column}},
            }
            for column, kind in _TYPES.items()
        ],
    }
