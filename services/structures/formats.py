"""Which reader a file has, by its name."""

from collections.abc import Mapping
from pathlib import Path

from distillery.generators.files.contents import Reader
from distillery.generators.files.graphs import GraphReader
from services.structures.cif import parse_cif_text
from services.structures.databases import AseLmdbReader, JsonReader, SqliteReader
from services.structures.datasets import DatasetReader
from services.structures.lammps_files import parse_lammps_data, parse_lammps_dump
from services.structures.packed import PACKED, read_bytes, strip_packing
from services.structures.program_files import (
    parse_aims_geometry,
    parse_as,
    parse_castep_cell,
    parse_espresso_input,
    parse_output,
    parse_res,
    parse_trajectory,
)
from services.structures.vasp_files import parse_outcar, parse_poscar, parse_vasprun, parse_xdatcar
from services.structures.whole_files import WholeFileReader
from services.structures.xyz import XyzReader

_XYZ, _CIF, _POSCAR = XyzReader(), WholeFileReader(parse_cif_text), WholeFileReader(parse_poscar)
_DUMP, _OUTPUT = WholeFileReader(parse_lammps_dump), WholeFileReader(parse_output)
_DATA, _VASPRUN = WholeFileReader(parse_lammps_data), WholeFileReader(parse_vasprun)
_DATASET = DatasetReader()
_BEGINNINGS: Mapping[str, Reader] = {
    "POSCAR": _POSCAR,
    "CONTCAR": _POSCAR,
    "XDATCAR": WholeFileReader(parse_xdatcar),
    "OUTCAR": WholeFileReader(parse_outcar),
    "GEOMETRY.IN": WholeFileReader(parse_aims_geometry),
}
"""Names of files that begin so, in capitals."""
_TEXTS: Mapping[str, Reader] = {
    **{".extxyz": _XYZ, ".xyz": _XYZ, ".cif": _CIF, ".vasp": _POSCAR, ".poscar": _POSCAR, ".contcar": _POSCAR},
    **{".xsf": WholeFileReader(parse_as("xsf")), ".res": WholeFileReader(parse_res), ".cell": WholeFileReader(parse_castep_cell)},
    **{".dump": _DUMP, ".lammpstrj": _DUMP, ".lmp": _DATA, ".data": _DATA},
    **{".pwi": WholeFileReader(parse_espresso_input), ".pwo": _OUTPUT, ".out": _OUTPUT},
}
_BINARIES: Mapping[str, Reader] = {
    ".traj": WholeFileReader(parse_trajectory, read_bytes),
    ".db": SqliteReader(),
    ".json": JsonReader(),
    ".aselmdb": AseLmdbReader(),
    ".lmdb": GraphReader(),
    ".h5": _DATASET,
    ".hdf5": _DATASET,
}
KNOWN = (
    f"{', '.join(_TEXTS)}, {', '.join(f'{name}…' for name in _BEGINNINGS)}, vasprun….xml (each also with {', '.join(PACKED)}), .traj, .db "
    "(ASE), .json (ASE or pymatgen), .aselmdb, .lmdb (graphs of Open Catalyst), .h5 (a dataset)"
)


def find_reader(path: Path) -> Reader | None:
    """The reader of a file, None if its name tells of none; a `data.mdb` is read as its folder's name says."""
    name = path.parent.name if path.name == "data.mdb" else path.name
    text = strip_packing(name)
    if (beginning := next((own for own in _BEGINNINGS if text.upper().startswith(own)), None)) is not None:
        return _BEGINNINGS[beginning]
    ending = Path(text).suffix.lower()
    if text.lower().startswith("vasprun") and ending == ".xml":
        return _VASPRUN
    return _TEXTS.get(ending) or (_BINARIES.get(ending) if text == name else None)
