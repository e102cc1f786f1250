"""Which reader a file has, by its name."""

from collections.abc import Mapping
from pathlib import Path

from distillery.generators.files.contents import Reader
from distillery.generators.files.graphs import GraphReader
from services.structures.databases import AseLmdbReader, JsonReader, SqliteReader
from services.structures.datasets import DatasetReader
from services.structures.packed import PACKED, strip_packing
from services.structures.whole_files import WholeFileReader, parse_cif_text, parse_poscar_text
from services.structures.xyz import XyzReader

_XYZ, _CIF, _POSCAR = XyzReader(), WholeFileReader(parse_cif_text), WholeFileReader(parse_poscar_text)
_TEXTS: Mapping[str, Reader] = {".extxyz": _XYZ, ".xyz": _XYZ, ".cif": _CIF, ".vasp": _POSCAR, ".poscar": _POSCAR, ".contcar": _POSCAR}
_DATASET = DatasetReader()
_BINARIES: Mapping[str, Reader] = {
    ".db": SqliteReader(),
    ".json": JsonReader(),
    ".aselmdb": AseLmdbReader(),
    ".lmdb": GraphReader(),
    ".h5": _DATASET,
    ".hdf5": _DATASET,
}
KNOWN = (
    f"{', '.join(_TEXTS)}, POSCAR…, CONTCAR… (each also with {', '.join(PACKED)}), .db and .json (ASE), .aselmdb, .lmdb (graphs of Open "
    "Catalyst), .h5 (a dataset)"
)


def find_reader(path: Path) -> Reader | None:
    """The reader of a file, None if its name tells of none; a `data.mdb` is read as its folder's name says."""
    name = path.parent.name if path.name == "data.mdb" else path.name
    text = strip_packing(name)
    if text.upper().startswith(("POSCAR", "CONTCAR")):
        return _POSCAR
    ending = Path(text).suffix.lower()
    return _TEXTS.get(ending) or (_BINARIES.get(ending) if text == name else None)
