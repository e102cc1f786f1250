"""The formats a dataset is exported in, by the names that `distillery export --to` takes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from distillery.export.ase_databases import LMDB_FILES, export_ase_db, export_aselmdb
from distillery.export.extxyz import export_extxyz
from distillery.export.places import require_file, require_folder
from distillery.export.zarr_store import STORE_FILES, export_zarr


@dataclass(frozen=True)
class Format:
    """A format.

    suffix   what is put behind the dataset's name
    require  the file or folder it would write; InvalidRequest if it must not: (dataset, target, overwrite=…)
    export   writes it: (dataset, target, indices=…, overwrite=…, and options of its own) -> number of structures
    options  of its own
    """

    suffix: str
    require: Callable[..., Path]
    export: Callable[..., int]
    options: tuple[str, ...] = ()


FORMATS: Mapping[str, Format] = {
    "extxyz": Format(".extxyz", require_file, export_extxyz, ("mace_keys",)),
    "ase-db": Format(".db", require_file, export_ase_db),
    "aselmdb": Format("-aselmdb", partial(require_folder, patterns=LMDB_FILES), export_aselmdb, ("shard_size",)),
    "zarr": Format(".zarr", partial(require_folder, patterns=STORE_FILES), export_zarr),
}
