"""The benchmarks service: three formats read back, sampling, archives from a local server, and files that mean harm."""

import hashlib
import io
import os
import pickle
import tarfile
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from ase import Atoms
from pymatgen.core import Structure as PymatgenStructure

from distillery.errors import InvalidRequest, Unavailable, Unsupported
from distillery.generators.files.contents import index_file
from distillery.generators.files.tensors import load_graph, to_array
from distillery.generators.generator import Made, Task, resolve_task
from distillery.generators.service import ServiceSettings, create_app
from distillery.runtime.stopping import Stopped
from distillery.schema.generate import GenerateRequest
from distillery.structures.arrow import to_arrow
from distillery.structures.identity import structure_hash
from distillery.structures.structure import Structure
from services.benchmarks.archives import ensure_files
from services.benchmarks.catalogue import SUBSETS, Archive, Subset
from services.benchmarks.generator import BenchmarkGenerator
from services.benchmarks.oc20 import OC20Reader
from services.benchmarks.settings import BenchmarkSettings
from services.benchmarks.shelf import open_shelf
from tests.benchmark_files import PAIRS, matbench_table, rock_salts, slabs, write_lmdb, write_matbench, write_oc20
from tests.serving import serve

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # PyG still calls torch.jit.script
    import torch_geometric.data.data as pyg

BY_NAME = {subset.name: subset for subset in SUBSETS}
NEVER = threading.Event()


def settings(folder: Path, download: bool = False) -> BenchmarkSettings:
    return BenchmarkSettings(folder=folder, download=download)


def load(folder: Path) -> BenchmarkGenerator:
    generator = BenchmarkGenerator(settings(folder))
    generator.load()
    return generator


def resolve(generator: BenchmarkGenerator, **request: Any) -> Task:
    return resolve_task(GenerateRequest(**{"n": 5, "seed": 1, "system": "surface", **request}), generator)


def make(generator: BenchmarkGenerator, **request: Any) -> Made:
    return generator.generate(resolve(generator, **request), NEVER, lambda made, n: None)


def read_all(name: str, folder: Path) -> list[Structure]:
    """Every structure of a subset, in the order of its files."""
    shelf = open_shelf(BY_NAME[name], settings(folder), NEVER)
    return [s for file in shelf.files for s in file.read(range(len(file.contents.at)))]


def graph_of(atoms: Atoms, k: int) -> pyg.Data:
    return pyg.Data(
        pos=torch.tensor(atoms.positions, dtype=torch.float32),
        cell=torch.tensor(atoms.cell.array, dtype=torch.float32)[None],
        atomic_numbers=torch.tensor(atoms.numbers, dtype=torch.float32),
        natoms=len(atoms),
        tags=torch.tensor(atoms.get_tags()),
        sid=500 + k,
        nads=1,
        oc22=1,
        y_relaxed=np.float64(-k),
    )


def pickled_as_before_pyg_2(graph: pyg.Data, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """As PyG 1 pickled it: attributes in the object's own dict, unused ones None."""
    old = type("Data", (), {"__module__": pyg.__name__})
    made = old()
    made.__dict__ = {"x": None, "edge_index": None, **graph.to_dict()}
    with monkeypatch.context() as patch:
        patch.setattr(pyg, "Data", old)
        return pickle.dumps(made, protocol=-1)


@pytest.fixture
def oc20(tmp_path: Path) -> Path:
    write_oc20(tmp_path / "oc20" / "train" / "0.extxyz.xz", slabs(36))
    write_oc20(tmp_path / "oc20" / "train" / "1.extxyz.xz", slabs(9, seed=1), first_sid=900)
    return tmp_path


@pytest.fixture
def jdft2d(tmp_path: Path) -> Path:
    write_matbench(tmp_path / "matbench_jdft2d.json.gz", rock_salts(72), "exfoliation_en")
    return tmp_path


# formats


def test_oc20_structures_come_back_with_their_labels_kept_aside(oc20: Path) -> None:
    read = read_all("oc20", oc20)
    assert len(read) == 45
    for k, (s, atoms) in enumerate(zip(read, slabs(36), strict=False)):
        assert s.symbols == atoms.get_chemical_symbols()
        assert np.allclose(s.positions, atoms.positions, atol=1e-7)
        assert np.allclose(s.cell, atoms.cell.array, atol=1e-7)
        assert (s.system, s.pbc) == ("surface", (True, True, True))
        assert s.origin == {
            "benchmark": "oc20",
            "licence": "CC-BY-4.0",
            "file": "oc20/train/0.extxyz.xz",
            "row": k,
            "sid": f"random{100 + k}",
            "frame": f"frame{7 * k}",
            "original": {"property": "energy", "value": -float(k), "unit": "eV", "reference_energy": -100.0 - k},
        }


def test_oc22_graphs_of_old_and_new_pyg_come_back_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = [graph_of(atoms, k) for k, atoms in enumerate(slabs(12))]
    write_lmdb(tmp_path / "oc22" / "train" / "new.lmdb", graphs)
    write_lmdb(tmp_path / "oc22" / "train" / "old.lmdb", [pickled_as_before_pyg_2(g, monkeypatch) for g in graphs])
    read = read_all("oc22", tmp_path)
    assert len(read) == 24
    for k, (new, old, atoms) in enumerate(zip(read[:12], read[12:], slabs(12), strict=True)):
        for s in (new, old):
            assert s.symbols == atoms.get_chemical_symbols()
            assert np.allclose(s.positions, atoms.positions, atol=1e-5)
            assert np.allclose(s.cell, atoms.cell.array, atol=1e-5)
            assert (s.origin["sid"], s.origin["row"]) == (500 + k, k)
            assert s.origin["original"] == {"property": "y_relaxed", "value": -float(k), "unit": "eV"}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.int64, torch.int32, torch.int16, torch.int8])
def test_tensors_are_read_as_torch_reads_them(dtype: torch.dtype) -> None:
    whole = torch.arange(24).reshape(4, 6).to(dtype)
    parts = {"whole": whole, "turned": whole.T, "part": whole[1:3, ::2], "one": whole[2, 3], "none": whole[:0]}
    graph = load_graph(pickle.dumps(pyg.Data(**parts, mask=torch.tensor([True, False])), protocol=-1))
    for name, tensor in parts.items():
        assert np.array_equal(to_array(graph[name]), tensor.numpy())
    assert to_array(graph["mask"]).tolist() == [True, False]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_and_numbers_are_read_whatever_the_protocol(protocol: int) -> None:
    fields = {"array": np.arange(6.0).reshape(2, 3), "turned": np.arange(6).reshape(2, 3).T, "scalar": np.float64(0.1), "number": 7}
    graph = load_graph(pickle.dumps(pyg.Data(**fields, fixed=torch.tensor([1, 0])), protocol=protocol))
    for name, value in fields.items():
        assert np.array_equal(to_array(graph[name]), value)
    assert to_array(graph["fixed"]).tolist() == [1, 0]


def test_matbench_structures_are_what_pymatgen_reads(jdft2d: Path) -> None:
    rows: Any = matbench_table(rock_salts(72), "exfoliation_en")["data"]
    for k, s in enumerate(read_all("matbench_jdft2d", jdft2d)):
        wanted = PymatgenStructure.from_dict(rows[k][0])
        assert s.symbols == [site.specie.symbol for site in wanted]
        assert np.allclose(s.positions, wanted.cart_coords)
        assert np.allclose(s.cell, wanted.lattice.matrix)
        assert s.origin["original"] == {"property": "exfoliation_en", "value": k, "unit": "meV/atom"}
        assert s.origin["sid"] == str(k)


# sampling


def test_nothing_comes_twice_and_the_same_seed_gives_the_same_bytes(oc20: Path) -> None:
    generator = load(oc20)
    made = make(generator, n=45)
    assert len({(s.origin["file"], s.origin["row"]) for s in made.structures}) == 45
    assert len({structure_hash(s) for s in made.structures}) == 45
    assert [s.id for s in made.structures] == [f"benchmarks-1/{k:04d}" for k in range(45)]
    assert to_arrow(made.structures) == to_arrow(make(load(oc20), n=45).structures)
    assert [s.origin["sid"] for s in make(generator, n=5).structures] == [s.origin["sid"] for s in made.structures[:5]]
    assert {s.origin["sid"] for s in make(generator, n=5, seed=2).structures} != {s.origin["sid"] for s in made.structures[:5]}


def test_where_all_that_fits_is_used_up_fewer_come_back(oc20: Path) -> None:
    made = make(load(oc20), n=100)
    assert (len(made.structures), made.attempts, made.rejected) == (45, 45, {})


def test_a_structure_that_a_file_holds_twice_is_taken_once(tmp_path: Path) -> None:
    write_oc20(tmp_path / "oc20" / "0.extxyz.xz", [*slabs(4), *slabs(4)])
    made = make(load(tmp_path), n=8, perturb={"rattle": 0.02})
    assert len(made.structures) == 4
    assert made.rejected == {"duplicate": 4}


def rows_of(made: Made) -> list[tuple[str, int]]:
    return [(s.origin["file"], s.origin["row"]) for s in made.structures]


def test_requests_for_adjacent_stretches_share_out_the_pool(oc20: Path) -> None:
    def rows(start: int, n: int, order: int = 9) -> list[tuple[str, int]]:
        return rows_of(make(generator, n=n, seed=start, pool_slice={"seed": order, "start": start}))

    generator = load(oc20)
    taken = [*rows(0, 20), *rows(20, 13), *rows(33, 12)]
    assert sorted(taken) == sorted(rows_of(make(generator, n=45)))
    assert rows(0, 45) == taken
    assert rows(0, 20, order=8) != taken[:20]


def test_a_stretch_beyond_the_pool_is_counted_as_used_up(oc20: Path) -> None:
    generator = load(oc20)
    across = make(generator, n=10, pool_slice={"seed": 9, "start": 40})
    assert (len(across.structures), across.attempts, across.rejected) == (5, 10, {"pool_used_up": 5})
    beyond = make(generator, n=10, pool_slice={"seed": 9, "start": 2**63 - 1})
    assert (beyond.structures, beyond.attempts, beyond.rejected) == ([], 10, {"pool_used_up": 10})


def test_what_a_stretch_loses_is_not_made_good_from_another(tmp_path: Path) -> None:
    write_oc20(tmp_path / "oc20" / "0.extxyz.xz", [*slabs(4), *slabs(5, seed=1, vacuum=9.0)])
    parts = [make(load(tmp_path), n=3, seed=start, pool_slice={"seed": 9, "start": start}) for start in (0, 3, 6)]
    assert sorted(row for part in parts for row in rows_of(part)) == [("oc20/0.extxyz.xz", row) for row in range(4)]
    assert sum((part.rejected for part in parts), Counter()) == {"thin_vacuum": 5}


def test_only_the_elements_and_sizes_asked_for_are_attempted(oc20: Path) -> None:
    generator = load(oc20)
    made = make(generator, n=45, elements=["H", "C", "N", "O"])
    assert len(made.structures) == made.attempts > 0
    assert all(set(s.symbols) <= {"H", "C", "N", "O"} for s in made.structures)
    with pytest.raises(Unsupported, match="65-300 atoms"):
        resolve(generator, min_atoms=65)
    with pytest.raises(Unsupported, match="of C only"):
        resolve(generator, elements=["C"])


def test_small_crystals_are_repeated_and_those_of_a_fitting_size_are_not(jdft2d: Path) -> None:
    subsets = {"subsets": ["matbench_jdft2d"]}
    made = make(load(jdft2d), n=40, system="crystal", options=subsets, min_atoms=60, max_atoms=200)
    assert len(made.structures) == 40
    assert {len(s) for s in made.structures} == {64, 96, 144}
    for s in made.structures:
        assert 60 <= len(s) <= 200
        assert len(s) == 8 * np.prod(s.origin["supercell"])
    plain = make(load(jdft2d), n=40, system="crystal", options=subsets, min_atoms=8, max_atoms=9)
    assert all(len(s) == 8 and "supercell" not in s.origin for s in plain.structures)
    hashes = {(s.origin["row"]): structure_hash(s) for s in plain.structures}
    assert all(structure_hash(s) == hashes[s.origin["row"]] for s in made.structures if s.origin["row"] in hashes)


def test_a_crystal_that_no_repetition_brings_into_the_range_is_counted(jdft2d: Path) -> None:
    made = make(load(jdft2d), system="crystal", options={"subsets": ["matbench_jdft2d"]}, min_atoms=9, max_atoms=15)
    assert (made.structures, made.rejected) == ([], {"no_supercell": 72})


def test_perturbation_moves_atoms_and_leaves_the_original_label(oc20: Path) -> None:
    still = {s.origin["sid"]: s for s in make(load(oc20)).structures}
    for moved in make(load(oc20), perturb={"rattle": 0.03, "strain": 0.01}).structures:
        origin = {**moved.origin}
        assert origin.pop("perturb")["rattle"] == 0.03
        assert origin == still[moved.origin["sid"]].origin
        assert not np.allclose(moved.positions, still[moved.origin["sid"]].positions)


def test_slabs_with_thin_vacuum_are_refused_and_counted(tmp_path: Path) -> None:
    write_oc20(tmp_path / "oc20" / "0.extxyz.xz", [*slabs(4), *slabs(5, seed=1, vacuum=9.0)])
    made = make(load(tmp_path), n=9)
    assert len(made.structures) == 4
    assert made.rejected == {"thin_vacuum": 5}


def test_work_stops_when_nobody_waits_for_it(oc20: Path) -> None:
    generator, stop = load(oc20), threading.Event()
    seen = []

    def leave(made: int, n: int) -> None:
        seen.append(made)
        stop.set()

    with pytest.raises(Stopped):
        generator.generate(resolve(generator, n=20), stop, leave)
    assert seen == [1]


def test_an_unknown_subset_is_refused_with_the_nearest(oc20: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"unknown surface subset 'oc21'; did you mean 'oc2[02]'"):
        resolve(load(oc20), options={"subsets": ["oc21"]})
    with pytest.raises(InvalidRequest, match="did you mean 'matbench_phonons'"):
        resolve(load(oc20), system="crystal", options={"subsets": ["phonons"]})


# files


def test_metadata_names_the_subsets_at_hand_and_changes_with_their_content(oc20: Path) -> None:
    versions = load(oc20).metadata.versions
    assert versions.keys() == {"numpy", "ase", "vesin", "oc20"}
    assert versions["oc20"].startswith("45 structures, sha256 ")
    write_oc20(oc20 / "oc20" / "train" / "1.extxyz.xz", slabs(9, seed=2))
    assert load(oc20).metadata.versions["oc20"] != versions["oc20"]


def test_a_file_is_scanned_once_and_again_only_when_it_has_changed(oc20: Path) -> None:
    class CountingReader(OC20Reader):
        n_scans = 0

        def scan(self, path: Path) -> Iterator[Any]:
            self.n_scans += 1
            return super().scan(path)

    reader, path = CountingReader(), oc20 / "oc20" / "train" / "1.extxyz.xz"
    first, second = index_file(path, reader), index_file(path, reader)
    assert reader.n_scans == 1
    for name in ("n_atoms", "elements", "at"):
        assert np.array_equal(getattr(first, name), getattr(second, name))
    (index,) = path.parent.glob("1.*.index.npz")
    index.write_bytes(index.read_bytes()[:50])
    assert index_file(path, reader).sha256 == first.sha256
    write_oc20(path, slabs(4))
    assert len(index_file(path, reader).at) == 4
    assert reader.n_scans == 3


def test_an_index_with_any_byte_damaged_is_made_anew(oc20: Path) -> None:
    path = oc20 / "oc20" / "train" / "1.extxyz.xz"
    wanted = index_file(path, OC20Reader())
    (index,) = path.parent.glob("1.*.index.npz")
    sound = index.read_bytes()
    for at in range(len(sound)):
        index.write_bytes(sound[:at] + bytes([sound[at] ^ 0xFF]) + sound[at + 1 :])
        assert index_file(path, OC20Reader()).at.tolist() == wanted.at.tolist()


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-400]), "can't be unpacked"),
        (lambda path: path.write_bytes(b"not xz"), "can't be unpacked"),
        (lambda path: path.with_name("0.txt.xz").unlink(), "0.txt.xz should lie beside it"),
        (lambda path: write_oc20(path.with_name("0.txt.xz").with_name("2.extxyz.xz"), slabs(2)), None),
        (lambda path: path.with_name("2.txt.xz").rename(path.with_name("0.txt.xz")), "holds 36 structures, but 0.txt.xz has 2 lines"),
    ],
)
def test_an_unreadable_oc20_file_is_named_with_what_is_wrong(oc20: Path, spoil: Callable[[Path], object], named: str | None) -> None:
    write_oc20(oc20 / "oc20" / "train" / "2.extxyz.xz", slabs(2))
    spoil(oc20 / "oc20" / "train" / "0.extxyz.xz")
    if named is None:
        assert load(oc20).metadata.versions["oc20"].startswith("47 ")
        return
    with pytest.raises(Unavailable) as problem:
        load(oc20)
    assert named in problem.value.detail
    assert "0.extxyz.xz" in problem.value.detail


def test_a_matbench_file_of_another_kind_is_named(tmp_path: Path) -> None:
    (tmp_path / "matbench_jdft2d.json.gz").write_bytes(b"\x1f\x8b not gzip")
    with pytest.raises(Unavailable, match=r"matbench_jdft2d\.json\.gz can't be used"):
        load(tmp_path)


def test_missing_subsets_are_named_with_address_size_and_place(oc20: Path) -> None:
    generator = load(oc20)
    with pytest.raises(Unavailable) as problem:
        resolve(generator, options={"subsets": ["oc20", "oc22"]})
    archive = BY_NAME["oc22"].archives[0]
    for named in (archive.url, archive.size, archive.digest, str(oc20), str(oc20 / "oc22"), "DISTILLERY_BENCHMARKS_DOWNLOAD"):
        assert named in problem.value.detail


def test_without_any_file_the_service_lives_but_is_not_ready(tmp_path: Path) -> None:
    app = create_app(BenchmarkGenerator(settings(tmp_path / "nowhere")), ServiceSettings())
    with serve(app, wait_until_ready=False) as url:
        while "still loading" in (answer := httpx.get(f"{url}/v1/health/ready")).text:
            pass
        assert answer.status_code == 503
        assert all(subset.archives[0].url in answer.json()["detail"] for subset in SUBSETS)
        assert httpx.post(f"{url}/generate", json={"n": 1, "seed": 1}).status_code == 503
    assert not (tmp_path / "nowhere").exists()


# pickles that mean harm


class Harm:
    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_that_names_anything_else_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "mark"
    content = pickle.dumps(Harm(os.mkdir, str(mark)), protocol=protocol)
    write_lmdb(tmp_path / "oc22" / "0.lmdb", [graph_of(slabs(1)[0], 0), content])
    with pytest.raises(Unavailable, match=r"key 1: the pickle names posix\.mkdir"):
        read_all("oc22", tmp_path)
    assert not mark.exists()


def test_a_storage_that_hides_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    hidden = Harm(torch.storage._load_from_bytes, pickle.dumps(Harm(os.mkdir, str(mark))))
    tensor = Harm(torch._utils._rebuild_tensor_v2, hidden, 0, (1,), (1,), False, {})
    graph = graph_of(slabs(1)[0], 0)
    graph["atomic_numbers"] = tensor
    write_lmdb(tmp_path / "oc22" / "0.lmdb", [graph])
    with pytest.raises(Unavailable, match=r"the storage names posix\.mkdir"):
        read_all("oc22", tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "call",
    [
        (torch.tensor([1.0, 2.0]).untyped_storage(), 0, (10**12,), (0,)),
        (torch.tensor([1.0, 2.0]).untyped_storage(), 0, (2,), (100,)),
        (torch.tensor([1.0, 2.0]).untyped_storage(), -1, (2,), (1,)),
        (3, 0, (2,), (1,)),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(call: tuple[Any, ...]) -> None:
    storage = torch.storage.TypedStorage(wrap_storage=call[0], dtype=torch.float32, _internal=True) if call[0] != 3 else 3
    content = pickle.dumps(pyg.Data(pos=Harm(torch._utils._rebuild_tensor_v2, storage, *call[1:], False, {})), protocol=-1)
    with pytest.raises(ValueError, match="tensor"):
        to_array(load_graph(content)["pos"])


# archives


class Server(ThreadingHTTPServer):
    """Serves `content`; breaks off after `n_bytes` where that is set."""

    content: bytes
    n_bytes: int | None = None
    ranges: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.server.n_bytes is None else body[: self.server.n_bytes])

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    made.ranges = []
    thread = threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def offer(server: Server, subset: Subset, content: bytes, digest: str | None = None) -> Subset:
    """The subset, its archive now `content` on the local server."""
    server.content = content
    name = subset.archives[0].name
    url = f"http://127.0.0.1:{server.server_address[1]}/data/{name}"
    return replace(subset, archives=(Archive(url, "a few kB", "md5", digest or hashlib.md5(content).hexdigest()),))


def tar_of(folder: Path) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(folder, "s2ef_train_200K")
    return packed.getvalue()


@pytest.fixture
def packed(tmp_path: Path) -> bytes:
    source = tmp_path / "source"
    write_oc20(source / "s2ef_train_200K" / "0.extxyz.xz", slabs(6))
    (source / "README.txt").write_text("about")
    return tar_of(source)


def list_names(folder: Path) -> list[str]:
    """What lies in the folder, locks aside."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_replicas_that_start_together_unpack_an_archive_once_and_whole(tmp_path: Path) -> None:
    content, n_files = io.BytesIO(), 2000
    with tarfile.open(fileobj=content, mode="w") as tar:
        for k in range(n_files):
            member = tarfile.TarInfo(f"{k:05d}.extxyz.xz")
            member.size = 1000
            tar.addfile(member, io.BytesIO(bytes(1000)))
    (tmp_path / "s2ef_train_200K.tar").write_bytes(content.getvalue())
    digest = hashlib.md5(content.getvalue()).hexdigest()
    archive = replace(BY_NAME["oc20"].archives[0], digest=digest)
    subset = replace(BY_NAME["oc20"], archives=(archive,))
    with ThreadPoolExecutor(3) as replicas:
        found = [replicas.submit(ensure_files, subset, settings(tmp_path), NEVER) for _ in range(3)]
    assert [len(files.result()) for files in found] == [n_files] * 3
    assert list_names(tmp_path) == ["oc20", "s2ef_train_200K.tar"]


def test_files_that_are_there_need_no_folder_to_write_to(oc20: Path) -> None:
    assert ensure_files(BY_NAME["oc20"], settings(oc20, download=True), NEVER)
    assert not list(oc20.glob(".*"))


def test_an_archive_is_downloaded_and_extracted_once(server: Server, packed: bytes, tmp_path: Path) -> None:
    subset, folder = offer(server, BY_NAME["oc20"], packed), tmp_path / "benchmarks"
    files = ensure_files(subset, settings(folder, download=True), NEVER)
    assert [f.relative_to(folder).as_posix() for f in files] == ["oc20/s2ef_train_200K/s2ef_train_200K/s2ef_train_200K/0.extxyz.xz"]
    stamp = files[0].stat().st_ino
    assert ensure_files(subset, settings(folder, download=True), NEVER)[0].stat().st_ino == stamp
    (folder / "s2ef_train_200K.tar").unlink()
    assert ensure_files(subset, settings(folder), NEVER) == files
    assert server.ranges == [None]
    assert list_names(folder) == ["oc20"]
    assert not list(folder.rglob("README.txt"))


def test_nothing_is_downloaded_unless_the_setting_says_so(server: Server, packed: bytes, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="oc20 is missing"):
        ensure_files(offer(server, BY_NAME["oc20"], packed), settings(tmp_path / "benchmarks"), NEVER)
    assert server.ranges == []


def test_an_official_archive_put_there_by_hand_is_checked_and_extracted(server: Server, packed: bytes, tmp_path: Path) -> None:
    subset = offer(server, BY_NAME["oc20"], packed)
    (tmp_path / "s2ef_train_200K.tar").write_bytes(packed)
    assert len(ensure_files(subset, settings(tmp_path), NEVER)) == 1
    assert server.ranges == []


def test_a_download_that_broke_off_goes_on_where_it_was(server: Server, packed: bytes, tmp_path: Path) -> None:
    subset, wanted = offer(server, BY_NAME["oc20"], packed), settings(tmp_path / "benchmarks", download=True)
    server.n_bytes = 5000
    with pytest.raises(Unavailable, match="the next try goes on"):
        ensure_files(subset, wanted, NEVER)
    assert list_names(wanted.folder) == ["s2ef_train_200K.tar.partial"]
    n_bytes = (wanted.folder / "s2ef_train_200K.tar.partial").stat().st_size
    server.n_bytes = None
    assert len(ensure_files(subset, wanted, NEVER)) == 1
    assert 0 < n_bytes <= 5000
    assert server.ranges == [None, f"bytes={n_bytes}-"]


def test_a_wrong_checksum_is_refused_and_not_fetched_again_and_again(server: Server, packed: bytes, tmp_path: Path) -> None:
    subset, wanted = offer(server, BY_NAME["oc20"], packed, digest="0" * 32), settings(tmp_path / "benchmarks", download=True)
    for named in ("0" * 32, "remove it to try again"):
        with pytest.raises(Unavailable) as problem:
            ensure_files(subset, wanted, NEVER)
        assert named in problem.value.detail
    assert list_names(wanted.folder) == ["s2ef_train_200K.tar.refused"]
    assert len(server.ranges) == 1


def test_a_wrong_archive_put_there_by_hand_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "s2ef_train_200K.tar").write_bytes(b"something else")
    with pytest.raises(Unavailable, match="wanted f8d0909c2623a393148435dede7d3a46"):
        ensure_files(BY_NAME["oc20"], settings(tmp_path), NEVER)
    assert list_names(tmp_path) == ["s2ef_train_200K.tar"]


def test_a_closing_service_gives_up_its_download(server: Server, packed: bytes, tmp_path: Path) -> None:
    closing = threading.Event()
    closing.set()
    with pytest.raises(Stopped):
        ensure_files(offer(server, BY_NAME["oc20"], packed), settings(tmp_path / "benchmarks", download=True), closing)


@pytest.mark.parametrize(
    ("name", "kind", "target"),
    [
        ("../../evil.extxyz.xz", tarfile.REGTYPE, ""),
        ("evil.extxyz.xz", tarfile.SYMTYPE, "../../outside"),
        ("evil.extxyz.xz", tarfile.LNKTYPE, "/etc/passwd"),
        ("evil.extxyz.xz", tarfile.CHRTYPE, ""),
    ],
)
def test_an_archive_that_reaches_outside_is_refused_whole(server: Server, tmp_path: Path, name: str, kind: bytes, target: str) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size = kind, target, 4 if kind == tarfile.REGTYPE else 0
        tar.addfile(member, io.BytesIO(b"evil"))
    subset, folder = offer(server, BY_NAME["oc20"], content.getvalue()), tmp_path / "deep" / "benchmarks"
    folder.mkdir(parents=True)
    with pytest.raises(Unavailable, match="can't be extracted"):
        ensure_files(subset, settings(folder, download=True), NEVER)
    assert list_names(tmp_path) == ["deep"]
    assert list_names(tmp_path / "deep") == ["benchmarks"]
    assert list_names(folder) == ["s2ef_train_200K.tar"]


def test_a_matbench_file_is_downloaded_into_its_place(server: Server, tmp_path: Path) -> None:
    write_matbench(tmp_path / "source.json.gz", rock_salts(4), "n")
    subset = offer(server, BY_NAME["matbench_dielectric"], (tmp_path / "source.json.gz").read_bytes())
    shelf = open_shelf(subset, settings(tmp_path / "benchmarks", download=True), NEVER)
    assert shelf.n_structures == 4
    assert [f.name for f in shelf.files] == ["matbench_dielectric.json.gz"]


def test_the_test_files_hold_all_nine_elements() -> None:
    assert len(PAIRS) == 21
    assert {symbol for atoms in rock_salts(32) for symbol in atoms.symbols} == {"H", "C", "N", "O", "F", "Si", "P", "S", "Cl"}
