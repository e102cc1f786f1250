"""Benchmark files with bad rows: the row is refused and counted by reason, the rest is used, and no file ends the process."""

import gzip
import io
import json
import lzma
import os
import pickle
import random
import resource
import struct
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
import torch
from ase import Atoms

from distillery.errors import Unavailable
from distillery.generators.files.lmdb_file import LmdbFile
from distillery.generators.files.tensors import load_graph, to_array
from distillery.generators.generator import Made, resolve_task
from distillery.schema.generate import GenerateRequest
from distillery.structures.arrow import from_arrow, to_arrow
from distillery.structures.structure import Structure
from services.benchmarks.catalogue import SUBSETS
from services.benchmarks.generator import BenchmarkGenerator
from services.benchmarks.settings import BenchmarkSettings
from services.benchmarks.shelf import open_shelf
from tests.benchmark_files import matbench_table, rock_salts, slabs, write_lmdb, write_oc20

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # PyG still calls torch.jit.script
    import torch_geometric.data.data as pyg

BY_NAME = {subset.name: subset for subset in SUBSETS}
NEVER = threading.Event()
N = 6


def open_all(name: str, folder: Path) -> list[Any]:
    """Everything that the files of a subset hold, refusals among them."""
    shelf = open_shelf(BY_NAME[name], BenchmarkSettings(folder=folder), NEVER)
    return [found for file in shelf.files for found in file.read(range(len(file.contents.at)))]


def tell(found: list[Any]) -> list[str]:
    """The reason of every row, "" where it is a structure."""
    return ["" if isinstance(one, Structure) else one.reason for one in found]


def make(folder: Path, **request: Any) -> Made:
    generator = BenchmarkGenerator(BenchmarkSettings(folder=folder))
    generator.load()
    try:
        task = resolve_task(GenerateRequest(**{"n": 50, "seed": 1, **request}), generator)
        return generator.generate(task, NEVER, lambda made, n: None)
    finally:
        generator.close()


# MatBench


Table = dict[str, Any]


def write_table(folder: Path, spoil: Callable[[Table], object]) -> None:
    table = json.loads(json.dumps(matbench_table(rock_salts(N), "exfoliation_en")))
    spoil(table)
    (folder / "matbench_jdft2d.json.gz").write_bytes(gzip.compress(json.dumps(table).encode(), 1))


def row(table: Table, k: int = 2) -> Any:
    return table["data"][k][0]


def species(table: Table, *found: dict[str, Any]) -> None:
    row(table)["sites"][0]["species"] = list(found)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda t: species(t, {"element": "Si", "occu": 0.5}), "disordered"),
        (lambda t: species(t, {"element": "Si", "occu": 0.5}, {"element": "C", "occu": 0.5}), "disordered"),
        (lambda t: species(t), "disordered"),
        (lambda t: species(t, {"element": "Qq", "occu": 1}), "unreadable"),
        (lambda t: species(t, {"element": "X", "occu": 1}), "unreadable"),
        (lambda t: species(t, {"occu": 1}), "unreadable"),
        (lambda t: species(t, {"element": "Si", "occu": "1"}), "unreadable"),
        (lambda t: row(t).update(sites=[]), "empty"),
        (lambda t: row(t).update(sites=None), "unreadable"),
        (lambda t: row(t).update(charge=1), "charged"),
        (lambda t: row(t).update(charge="much"), "unreadable"),
        (lambda t: row(t)["lattice"].pop("matrix"), "unreadable"),
        (lambda t: row(t)["lattice"].update(matrix=[[1, 2], [3, 4]]), "unreadable"),
        (lambda t: row(t)["lattice"].update(pbc=[True, True]), "unreadable"),
        (lambda t: row(t)["lattice"].update(pbc=["yes", 1, 0]), "unreadable"),
        (lambda t: row(t)["sites"][1].update(abc=[0.5, 0.5]), "unreadable"),
        (lambda t: row(t)["sites"][1].update(abc=["a", "b", "c"]), "unreadable"),
        (lambda t: t["data"].__setitem__(2, [row(t)]), "unreadable"),
        (lambda t: t["data"].__setitem__(2, [row(t), 1, 2]), "unreadable"),
        (lambda t: t["data"].__setitem__(2, None), "unreadable"),
        (lambda t: t["data"].__setitem__(2, ["@", 1]), "unreadable"),
    ],
)
def test_a_bad_row_of_matbench_is_refused_and_the_rest_is_used(tmp_path: Path, spoil: Callable[[Table], object], reason: str) -> None:
    write_table(tmp_path, spoil)
    for _ in range(2):  # the second time from the index
        assert tell(open_all("matbench_jdft2d", tmp_path)) == ["", "", reason, "", "", ""]


def test_what_is_refused_is_counted_by_reason_in_answers_and_versions(tmp_path: Path) -> None:
    def spoil(table: Table) -> None:
        species(table)
        row(table, 4)["sites"] = []

    write_table(tmp_path, spoil)
    made = make(tmp_path, system="crystal", options={"subsets": ["matbench_jdft2d"]}, min_atoms=8, max_atoms=8)
    assert (len(made.structures), made.attempts, made.rejected) == (N - 2, N, {"disordered": 1, "empty": 1})
    (shelf,) = [open_shelf(BY_NAME["matbench_jdft2d"], BenchmarkSettings(folder=tmp_path), NEVER)]
    assert shelf.version.startswith("4 structures, 1 disordered, 1 empty, sha256 ")


def test_a_refused_row_is_named_with_its_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_table(tmp_path, species)
    open_all("matbench_jdft2d", tmp_path)
    assert "row 2 of" in caplog.text
    assert "matbench_jdft2d.json.gz is left out, disordered: site 0 is vacant" in caplog.text


@pytest.mark.parametrize("symbol", ["D", "T"])
def test_heavy_hydrogen_is_hydrogen(tmp_path: Path, symbol: str) -> None:
    write_table(tmp_path, lambda t: species(t, {"element": symbol, "occu": 1}))
    assert open_all("matbench_jdft2d", tmp_path)[2].symbols[0] == "H"


def test_a_site_of_one_element_in_two_states_is_whole(tmp_path: Path) -> None:
    write_table(tmp_path, lambda t: species(t, {"element": "Fe", "occu": 0.4}, {"element": "Fe", "occu": 0.6, "oxidation_state": 3}))
    assert open_all("matbench_jdft2d", tmp_path)[2].symbols[0] == "Fe"


def test_a_lattice_that_is_not_periodic_is_not_made_so(tmp_path: Path) -> None:
    write_table(tmp_path, lambda t: row(t)["lattice"].update(pbc=[True, True, False]))
    assert open_all("matbench_jdft2d", tmp_path)[2].pbc == (True, True, False)
    made = make(tmp_path, system="crystal", options={"subsets": ["matbench_jdft2d"]}, min_atoms=8, max_atoms=8)
    assert made.rejected == {"partial_periodicity": 1}


def test_a_table_of_more_columns_keeps_them_all(tmp_path: Path) -> None:
    def spoil(table: Table) -> None:
        table["columns"].append("gap")
        for k, data in enumerate(table["data"]):
            data.append(0.5 * k)

    write_table(tmp_path, spoil)
    found = open_all("matbench_jdft2d", tmp_path)
    assert found[3].origin["original"] is None
    assert found[3].origin["columns"] == {"exfoliation_en": 3, "gap": 1.5}


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (float("nan"), None),
        (float("inf"), None),
        (None, None),
        ("NaN", "NaN"),
        ([1, float("nan")], [1, None]),
        ({"a": float("nan")}, {"a": None}),
        ("\ud800", "?"),
        (10**400, 10**400),
    ],
)
def test_a_property_that_json_can_not_carry_keeps_its_structure(tmp_path: Path, value: object, kept: object) -> None:
    write_table(tmp_path, lambda t: t["data"][2].__setitem__(1, value))
    found = open_all("matbench_jdft2d", tmp_path)
    assert tell(found) == [""] * N
    back, _ = from_arrow(to_arrow(found))
    assert back[2].origin["original"]["value"] == kept


@pytest.mark.parametrize(
    "spoil",
    [
        lambda t: t.pop("columns"),
        lambda t: t["index"].pop(),
        lambda t: t.update(columns=["a", "b"]),
        lambda t: t.update(data=[], index=[]),
        lambda t: t.update(data=3),
        lambda t: [one[0].update(sites=[]) for one in t["data"]],
    ],
)
def test_a_matbench_file_of_no_use_is_found_at_the_start(tmp_path: Path, spoil: Callable[[Table], object]) -> None:
    write_table(tmp_path, spoil)
    with pytest.raises(Unavailable, match=r"matbench_jdft2d\.json\.gz can't be used"):
        open_all("matbench_jdft2d", tmp_path)


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff\xfe", b"{}", b"[]", b"null", b'{"columns":' + b"9" * 5000 + b"}"])
def test_what_is_no_table_is_found_at_the_start(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "matbench_jdft2d.json.gz").write_bytes(gzip.compress(content))
    with pytest.raises(Unavailable, match="no table of structures"):
        open_all("matbench_jdft2d", tmp_path)


# OC20


def write_frames(folder: Path, spoil: Callable[[list[list[str]]], object], spoil_lines: Callable[[list[str]], object] = len) -> Path:
    """OC20 of N frames, as lists of lines, and the lines beside it; latin-1, so that any byte can be written."""
    path = folder / "oc20" / "0.extxyz.xz"
    write_oc20(path, slabs(N))
    beside = path.with_name("0.txt.xz")
    text = lzma.decompress(path.read_bytes()).decode().splitlines()
    frames = [text[66 * k : 66 * (k + 1)] for k in range(N)]
    lines = lzma.decompress(beside.read_bytes()).decode().splitlines()
    spoil(frames)
    spoil_lines(lines)
    content = "".join(f"{line}\n" for frame in frames for line in frame)
    path.write_bytes(lzma.compress(content.encode("latin-1"), preset=0))
    beside.write_bytes(lzma.compress("".join(f"{line}\n" for line in lines).encode("latin-1"), preset=0))
    return path


def put(k: int, line: int, old: str, new: str) -> Callable[[list[list[str]]], None]:
    def spoil(frames: list[list[str]]) -> None:
        assert old in frames[k][line]
        frames[k][line] = frames[k][line].replace(old, new, 1)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda f: f.__setitem__(2, ["0", f[2][1]]), "empty"),
        (lambda f: f[2].__setitem__(5, f[2][5][:2] + "********  0.0 0.0" + f[2][5][30:]), "unreadable"),
        (lambda f: f[2].__setitem__(5, f[2][5][:12]), "unreadable"),
        (lambda f: f[2].__setitem__(5, f[2][5][:2] + " nan 0 0 0 0 0 0"), "unreadable"),
        (lambda f: f[2].pop(), "unreadable"),
        (lambda f: f[2].append(f[2][-1]), "unreadable"),
        (lambda f: f[2].__setitem__(0, "10000000"), "unreadable"),
        (lambda f: f[2].__setitem__(0, "9" * 5000), "unreadable"),
        (lambda f: f[2].__setitem__(0, "63"), "unreadable"),
        (lambda f: f[2].__setitem__(0, "65"), "unreadable"),
        (lambda f: f[2].__setitem__(5, "Qq" + f[2][5][2:]), "unreadable"),
        (put(2, 1, "Lattice", "L\xe5ttice"), "unreadable"),
        (put(2, 1, "energy", "n\xe4me=\xe5 energy"), "unreadable"),
        (put(2, 1, "pos:R:3", "pos:R:2"), "unreadable"),
        (put(2, 1, 'Lattice="', 'Lattice="x '), "unreadable"),
    ],
)
def test_a_bad_frame_of_oc20_is_refused_and_the_rest_is_used(
    tmp_path: Path, spoil: Callable[[list[list[str]]], object], reason: str
) -> None:
    path = write_frames(tmp_path, spoil)
    start = time.process_time()
    for _ in range(2):
        found = open_all("oc20", tmp_path)
        assert tell(found) == ["", "", reason, "", "", ""]
        assert [one.origin["frame"] for one in found if isinstance(one, Structure)] == [f"frame{7 * k}" for k in (0, 1, 3, 4, 5)]
    assert time.process_time() - start < 3
    assert path.exists()


@pytest.mark.parametrize("line", ["random102,frame14", "random102,frame14,", "a,b,c,d", "random102,frame14,much", "r\xe5ndom,frame,1.0"])
def test_a_bad_line_beside_oc20_refuses_its_row(tmp_path: Path, line: str) -> None:
    write_frames(tmp_path, len, lambda lines: lines.__setitem__(2, line))
    assert tell(open_all("oc20", tmp_path)) == ["", "", "unreadable", "", "", ""]


@pytest.mark.parametrize(
    ("old", "new", "value"),
    [(" energy=-2.0", " energy=nan", None), (" energy=-2.0", ' energy="1 2 3"', [1, 2, 3]), (" energy=-2.0", "", None)],
)
def test_an_energy_that_is_none_keeps_its_structure(tmp_path: Path, old: str, new: str, value: object) -> None:
    write_frames(tmp_path, put(2, 1, old, new))
    found = open_all("oc20", tmp_path)
    assert tell(found) == [""] * N
    assert from_arrow(to_arrow(found))[0][2].origin["original"]["value"] == value


@pytest.mark.parametrize("reference", ["nan", "inf", "-inf"])
def test_a_reference_that_is_no_number_keeps_its_structure(tmp_path: Path, reference: str) -> None:
    write_frames(tmp_path, len, lambda lines: lines.__setitem__(2, f"random102,frame14,{reference}"))
    found = open_all("oc20", tmp_path)
    assert found[2].origin["original"] == {"property": "energy", "value": -2.0, "unit": "eV", "reference_energy": None}
    assert len(make(tmp_path, system="surface").structures) == N


def test_deuterium_in_oc20_is_hydrogen(tmp_path: Path) -> None:
    write_frames(tmp_path, lambda f: f[2].__setitem__(5, "D " + f[2][5][2:]))
    assert open_all("oc20", tmp_path)[2].symbols[3] == "H"


def test_lines_of_two_columns_throughout_are_found_at_the_start(tmp_path: Path) -> None:
    def cut(lines: list[str]) -> None:
        lines[:] = [line.rsplit(",", 1)[0] for line in lines]

    write_frames(tmp_path, len, cut)
    with pytest.raises(Unavailable, match=r"none of its 6 rows is a structure: 6 unreadable \(row 0, 1, 2, 3, 4, …\)"):
        open_all("oc20", tmp_path)


@pytest.mark.parametrize("change", ["fewer", "more", "other"])
def test_lines_that_change_after_the_index_was_made_are_noticed(tmp_path: Path, change: str) -> None:
    path = write_frames(tmp_path, len)
    shelf = open_shelf(BY_NAME["oc20"], BenchmarkSettings(folder=tmp_path), NEVER)
    lines = [f"new{k},f{k},0.0\n" for k in range({"fewer": 3, "more": 9, "other": N}[change])]
    path.with_name("0.txt.xz").write_bytes(lzma.compress("".join(lines).encode()))
    with pytest.raises(Unavailable, match="changed since the service started"):
        list(shelf.files[0].read([4]))
    if change == "other":  # a restart takes them
        assert open_all("oc20", tmp_path)[4].origin["sid"] == "new4"
    else:
        with pytest.raises(Unavailable, match=f"holds 6 structures, but 0.txt.xz has {len(lines)} lines"):
            open_all("oc20", tmp_path)


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "oc20" / "0.extxyz.xz"
    write_oc20(path, slabs(1))
    path.write_bytes(lzma.compress(b"1\n" + bytes(200_000_000), preset=0))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Unavailable):
        open_all("oc20", tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


# OC22


def graph_of(atoms: Atoms, k: int, **more: Any) -> pyg.Data:
    return pyg.Data(
        **{
            "pos": torch.tensor(atoms.positions, dtype=torch.float32),
            "cell": torch.tensor(atoms.cell.array, dtype=torch.float32)[None],
            "atomic_numbers": torch.tensor(atoms.numbers, dtype=torch.float32),
            "sid": 500 + k,
            "y_relaxed": np.float64(-k),
            **more,
        }
    )


def write_graphs(folder: Path, third: object) -> Path:
    graphs: list[object] = [graph_of(atoms, k) for k, atoms in enumerate(slabs(N))]
    graphs[2] = third
    write_lmdb(folder / "oc22" / "0.lmdb", graphs)
    return folder / "oc22" / "0.lmdb"


SLAB = slabs(1)[0]


@pytest.mark.parametrize(
    ("third", "reason"),
    [
        (graph_of(Atoms(cell=SLAB.cell), 2), "empty"),
        (pyg.Data(sid=1), "unreadable"),
        (graph_of(SLAB, 2, y_relaxed=torch.tensor([1.0, 2.0])), "unreadable"),
        (graph_of(SLAB, 2, cell=torch.zeros(2, 3)), "unreadable"),
        (graph_of(SLAB, 2, cell=torch.zeros(2, 3, 3)), "unreadable"),
        (graph_of(SLAB, 2, pos=torch.zeros(3, 3)), "unreadable"),
        (graph_of(SLAB, 2, pos="here"), "unreadable"),
        (graph_of(SLAB, 2, atomic_numbers=torch.full((64,), float("nan"))), "unreadable"),
        (graph_of(SLAB, 2, atomic_numbers=torch.full((64,), 300.0)), "unreadable"),
        (graph_of(SLAB, 2, atomic_numbers=torch.full((64,), 1e30)), "unreadable"),
        (graph_of(SLAB, 2, atomic_numbers=torch.zeros(64)), "unreadable"),
        (graph_of(SLAB, 2, sid=float("inf")), "unreadable"),
        ({"pos": 1}, "unreadable"),
        (b"", "unreadable"),
        (b"\x80", "unreadable"),
        (b"\x80\x02Nr\xff\xff\xff\x7f.", "unreadable"),
        (b"\x80\x02" + b"(" * 50_000 + b".", "unreadable"),
        (b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".", "unreadable"),
    ],
)
def test_a_bad_graph_of_oc22_is_refused_and_the_rest_is_used(tmp_path: Path, third: object, reason: str) -> None:
    write_graphs(tmp_path, third)
    for _ in range(2):
        assert tell(open_all("oc22", tmp_path)) == ["", "", reason, "", "", ""]


@pytest.mark.parametrize("sid", ["random7", "å"])
def test_a_text_for_a_sid_is_kept(tmp_path: Path, sid: str) -> None:
    write_graphs(tmp_path, graph_of(SLAB, 2, sid=sid))
    assert open_all("oc22", tmp_path)[2].origin["sid"] == sid


@pytest.mark.parametrize("value", [float("nan"), torch.tensor(float("inf")), torch.tensor([float("nan")])])
def test_a_label_that_is_no_number_keeps_its_structure(tmp_path: Path, value: object) -> None:
    write_graphs(tmp_path, graph_of(SLAB, 2, y_relaxed=value))
    found = from_arrow(to_arrow(open_all("oc22", tmp_path)))[0]
    assert found[2].origin["original"] == {"property": "y_relaxed", "value": None, "unit": "eV"}
    made = make(tmp_path, system="surface", options={"subsets": ["oc22"]})
    assert sum(made.rejected.values()) + len(made.structures) == N


class Asks:
    """Pickled, it asks numpy for an array."""

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return np._core.multiarray._reconstruct, self.arguments  # type: ignore[attr-defined]


def test_an_array_of_more_than_its_bytes_is_not_made() -> None:
    content = pickle.dumps(pyg.Data(pos=Asks(np.ndarray, (10**11,), b"d")), protocol=2)
    with pytest.raises(ValueError, match="array begun"):
        to_array(load_graph(content)["pos"])


def test_a_file_cut_off_anywhere_is_named_with_size_and_wanted_size(tmp_path: Path) -> None:
    path = write_graphs(tmp_path, graph_of(SLAB, 2))
    whole = path.read_bytes()
    for size in (len(whole) - 1, len(whole) - 4096, len(whole) // 2, 12288, 8192):
        path.write_bytes(whole[:size])
        with pytest.raises(Unavailable, match=rf"0\.lmdb can't be used: it is cut off: it has {size} bytes, and {len(whole)} are wanted"):
            open_all("oc22", tmp_path)
    for size in (0, 1, 4096, 8191):
        path.write_bytes(whole[:size])
        with pytest.raises(Unavailable, match=rf"0\.lmdb can't be used: it is cut off: it has {size} bytes"):
            open_all("oc22", tmp_path)


def test_a_file_that_is_cut_off_while_the_service_runs_is_named(tmp_path: Path) -> None:
    path = write_graphs(tmp_path, graph_of(SLAB, 2))
    shelf = open_shelf(BY_NAME["oc22"], BenchmarkSettings(folder=tmp_path), NEVER)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(Unavailable, match="has changed since"):
        list(shelf.files[0].read([5]))


@pytest.mark.parametrize(("n", "size"), [(0, 1), (1, 0), (3000, 3), (500, 900), (300, 2030), (60, 9000)])
def test_every_key_and_value_is_what_lmdb_reads(tmp_path: Path, n: int, size: int) -> None:
    path = tmp_path / "0.lmdb"
    with lmdb.open(str(path), map_size=1 << 26, subdir=False) as env:
        for turn in range(3):
            with env.begin(write=True) as transaction:
                for k in range(turn, n, 3):
                    transaction.put(str(k).encode(), random.Random(k).randbytes(size))
        with env.begin(write=True) as transaction:
            for k in range(0, n, 11):
                transaction.delete(str(k).encode())
        with env.begin() as transaction:
            wanted = [(bytes(key), bytes(value)) for key, value in transaction.cursor()]
    with LmdbFile(path) as file:
        assert [(key, file.get(key)) for key in file.keys()] == wanted  # noqa: SIM118
        assert file.get(b"none") is None


def test_a_damaged_lmdb_never_ends_in_another_error(tmp_path: Path) -> None:
    path = tmp_path / "0.lmdb"
    write_lmdb(path, [random.Random(k).randbytes(3000 if k % 7 else 30) for k in range(100)])
    whole, endings = path.read_bytes(), Counter[str]()
    for seed in range(150):
        rng, content = random.Random(seed), bytearray(whole)
        for _ in range(rng.choice([1, 3, 50])):
            page = rng.choice([0, 0, 1, *range(2, len(whole) // 4096)])
            content[4096 * page + rng.randrange(4096 if page > 1 else 170)] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        try:
            with LmdbFile(path) as file:
                endings["read"] += sum(file.get(key) is not None for key in file.keys()) > 0  # noqa: SIM118
        except ValueError:
            endings["refused"] += 1
    assert min(endings["read"], endings["refused"]) > 10


@pytest.mark.parametrize("name", ["oc20", "oc22", "matbench_jdft2d"])
def test_changed_bytes_of_a_file_end_in_structures_refusals_or_unavailable(tmp_path: Path, name: str) -> None:
    """Of what is unpacked, so that more than the checksum is tried."""
    unpack, pack, path = {
        "oc20": (lzma.decompress, lambda content: lzma.compress(content, preset=0), write_frames(tmp_path, len)),
        "oc22": (bytes, bytes, write_graphs(tmp_path, graph_of(SLAB, 2))),
        "matbench_jdft2d": (gzip.decompress, lambda content: gzip.compress(content, 1), tmp_path / "matbench_jdft2d.json.gz"),
    }[name]
    write_table(tmp_path, len)
    whole, endings = unpack(path.read_bytes()), Counter[str]()
    for seed in range(60):
        rng, content = random.Random(seed), bytearray(whole)
        for _ in range(rng.choice([1, 5, 40])):
            content[rng.randrange(len(content))] = rng.choice([rng.randrange(256), *b'0-",[]{}:\n e'])
        path.write_bytes(pack(bytes(content)))
        try:
            found = open_all(name, tmp_path)
            to_arrow([one for one in found if isinstance(one, Structure)])
            endings["opened"] += 1
        except Unavailable:
            endings["unavailable"] += 1
    assert sum(endings.values()) == 60
    assert endings["opened"]


# finding files


@pytest.mark.parametrize("depth", ["oc20", "oc20/mine"])
def test_a_link_to_a_folder_is_followed(tmp_path: Path, depth: str) -> None:
    write_oc20(tmp_path / "elsewhere" / "0.extxyz.xz", slabs(N))
    link = tmp_path / "benchmarks" / depth
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "elsewhere")
    assert len(open_all("oc20", tmp_path / "benchmarks")) == N


def test_a_circle_of_links_is_gone_through_once(tmp_path: Path) -> None:
    write_oc20(tmp_path / "oc20" / "0.extxyz.xz", slabs(N))
    (tmp_path / "oc20" / "again").symlink_to(tmp_path / "oc20")
    (tmp_path / "oc20" / "up").symlink_to(tmp_path)
    assert len(open_all("oc20", tmp_path)) == N


def test_an_lmdb_that_is_a_folder_is_read(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "oc22" / "train.lmdb" / "data.mdb", [graph_of(atoms, k) for k, atoms in enumerate(slabs(3))])
    (tmp_path / "oc22" / "train.lmdb" / "lock.mdb").write_bytes(b"")
    found = open_all("oc22", tmp_path)
    assert [(one.origin["file"], one.origin["sid"]) for one in found] == [("oc22/train.lmdb/data.mdb", 500 + k) for k in range(3)]


def test_an_index_is_no_place_for_a_bomb(tmp_path: Path) -> None:
    """An index of another kind is made anew."""
    write_oc20(tmp_path / "oc20" / "0.extxyz.xz", slabs(2))
    content = io.BytesIO()
    np.savez_compressed(content, key=np.zeros(3))
    (tmp_path / "oc20" / "0.extxyz.xz.index.npz").write_bytes(content.getvalue())
    assert len(open_all("oc20", tmp_path)) == 2
