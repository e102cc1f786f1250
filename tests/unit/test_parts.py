"""Parts: whole or not at all, first writer wins, damage found."""

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from distillery.dataset.folder import list_parts, part_path, remove_unfinished_files, remove_unfinished_parts
from distillery.dataset.layout import COLUMNS, Arrays, Label, read_arrays, select_structures, to_arrays
from distillery.dataset.parts import digest_arrays, read_part, read_receipt, write_part
from distillery.errors import CorruptPart, Unavailable
from distillery.runtime.atomic_files import write_whole
from distillery.schema.label import Receipt, Reject, ShardRecord, TeacherCard
from distillery.structures.identity import digest_structures, structure_hash
from distillery.structures.structure import Structure
from tests.fake_teacher import pair_label
from tests.labelling import methane, mixed, record, water

TEACHER = TeacherCard(name="fake", version="fake==1", weights_sha256="f" * 64, device="cpu", elements=("H", "C"))


def arrays_of(structures: list[Structure], labels: list[Label] | None = None) -> Arrays:
    hashes = [structure_hash(s) for s in structures]
    return to_arrays(structures, labels or [pair_label(s) for s in structures], hashes, source="molecules", service="rdkit", shard="p")


def receipt_of(arrays: Arrays, rejected: tuple[Reject, ...] = (), **change: int) -> Receipt:
    return Receipt(
        dataset="d",
        part="p",
        record=ShardRecord.model_validate(record(**change)),
        teacher=TEACHER,
        n_structures=len(arrays["labels/energy"]),
        n_atoms=len(arrays["labels/forces"]),
        rejected=rejected,
        label_seconds=0.1,
        structures_sha256=digest_structures(arrays["provenance/id"], arrays["provenance/structure_hash"]),
        content_sha256=digest_arrays(arrays),
        created="2025-01-01T00:00:00+00:00",
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A part of five structures and one in quarantine."""
    arrays = arrays_of(mixed("p", 5))
    rejected = (Reject(id="p/0005", reason="teacher_failed", detail="it broke", stage="label"),)
    target = part_path(tmp_path, "p")
    assert write_part(target, receipt_of(arrays, rejected), arrays, [water("p/0005")])
    return target


def test_a_part_reads_back_as_written(path: Path) -> None:
    part = read_part(path)
    expected = arrays_of(mixed("p", 5))
    for name in COLUMNS:
        assert np.array_equal(part.arrays[name], expected[name]), name
        assert part.arrays[name].dtype == expected[name].dtype, name
    assert [s.id for s in part.quarantined] == ["p/0005"]
    assert np.array_equal(part.quarantined[0].positions, water("p/0005").positions)
    assert part.receipt == read_receipt(path)


def test_a_part_without_structures_reads_back(tmp_path: Path) -> None:
    arrays = arrays_of([])
    path = part_path(tmp_path, "p")
    write_part(path, receipt_of(arrays), arrays)
    assert read_part(path).arrays["structures/atomic_numbers_splits"].tolist() == [0]


def test_a_second_write_changes_nothing(path: Path) -> None:
    before = path.read_bytes()
    arrays = arrays_of(mixed("p", 2))
    assert not write_part(path, receipt_of(arrays), arrays)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["p.h5"]


def test_of_racing_writers_exactly_one_wins(tmp_path: Path) -> None:
    path, wins = part_path(tmp_path, "p"), []
    arrays = arrays_of(mixed("p", 3))
    barrier = threading.Barrier(6)

    def write(seed: int) -> None:
        barrier.wait()
        if write_part(path, receipt_of(arrays, seed=seed), arrays):
            wins.append(seed)

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [read_part(path).receipt.record.seed] == wins
    assert list(path.parent.iterdir()) == [path]


def test_a_flipped_bit_anywhere_is_found(path: Path) -> None:
    whole = path.read_bytes()
    for at in [*np.random.default_rng(0).integers(0, len(whole), 300).tolist(), 0, len(whole) - 1]:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << (at % 8)
        path.write_bytes(damaged)
        with pytest.raises(CorruptPart, match="Move it away"):
            read_part(path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.99])
def test_a_part_that_was_cut_off_is_found(path: Path, share: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CorruptPart):
        read_part(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(CorruptPart):
        read_part(path)


def test_a_foreign_hdf5_file_is_no_part(tmp_path: Path) -> None:
    path = tmp_path / "p.h5"
    with h5py.File(path, "w") as file:
        file["x"] = 1
    with pytest.raises(CorruptPart, match="seal"):
        read_part(path)
    with pytest.raises(CorruptPart):
        read_receipt(path)


def test_a_folder_in_the_place_of_a_part_is_told_in_one_line(tmp_path: Path) -> None:
    for read in (read_part, read_receipt):
        with pytest.raises(CorruptPart, match=r"^[^\n]*Is a directory[^\n]*Move it away and resume[^\n]*$"):
            read(tmp_path)


def test_content_that_differs_from_its_digest_is_found(tmp_path: Path) -> None:
    path, arrays = part_path(tmp_path, "p"), arrays_of(mixed("p", 3))
    receipt = receipt_of(arrays)
    arrays["labels/energy"] = arrays["labels/energy"] + 1e-12
    write_part(path, receipt, arrays)
    with pytest.raises(CorruptPart, match="differs from its digest"):
        read_part(path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("labels/forces", lambda forces: forces.reshape(-1)),
        ("structures/positions", lambda positions: positions.T.copy().reshape(positions.shape)),
        ("provenance/source", lambda texts: np.array(["ab", "c", *texts[2:]], object)),
        ("labels/energy", lambda energies: energies[::-1]),
        ("labels/stress_mask", lambda mask: ~mask),
    ],
)
def test_the_digest_is_over_shapes_and_order_of_every_column(name: str, change: Callable[[Any], Any]) -> None:
    arrays = arrays_of(mixed("p", 3))
    arrays["provenance/source"] = np.array(["a", "bc", "d"], object)
    assert digest_arrays(arrays) != digest_arrays({**arrays, name: change(arrays[name])})


def test_columns_of_the_same_bytes_by_other_names_have_another_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = arrays_of(mixed("p", 3))
    before = digest_arrays(arrays)
    renamed = {f"{name}s": column for name, column in COLUMNS.items()}
    monkeypatch.setattr("distillery.dataset.parts.choose_columns", lambda found: renamed)
    assert digest_arrays({f"{name}s": array for name, array in arrays.items()}) != before


def test_the_digest_is_that_of_parts_made_before() -> None:
    """Another one would make every part on disk a corrupt one."""
    label = Label(-1.5, np.ones((3, 3), np.float32), None)
    arrays = arrays_of([water("p/0000"), water("p/0001")], [label, label])
    arrays["provenance/structure_hash"] = np.array(["0" * 32, "1" * 32], object)
    arrays["structures/positions"] = np.arange(18.0).reshape(6, 3)
    assert digest_arrays(arrays) == "044c288e2695a2e69e4593f01e6f28f38ee8af54150f77d9c3443035c1d61195"


def test_every_column_says_its_unit(path: Path) -> None:
    with h5py.File(path) as file:
        found = {name: file[name].attrs.get("unit", "") for name in COLUMNS}
    assert found == {name: column.unit for name, column in COLUMNS.items()}
    assert found["labels/forces"] == "eV/Å"


def test_refused_labels_are_kept_with_their_structures(tmp_path: Path) -> None:
    arrays, path = arrays_of(mixed("p", 2)), part_path(tmp_path, "p")
    strained = Label(-2.5, np.full((3, 3), 0.5, np.float32), np.arange(6.0))
    plain = Label(-1.5, np.zeros((5, 3), np.float32), None)
    write_part(path, receipt_of(arrays), arrays, [water("p/2"), methane("p/3")], {"p/2": strained, "p/3": plain})
    part = read_part(path)
    assert [s.id for s in part.quarantined] == ["p/2", "p/3"]
    assert part.refused_labels == {
        "p/2": {"energy": -2.5, "forces": [[0.5] * 3] * 3, "stress": [0, 1, 2, 3, 4, 5]},
        "p/3": {"energy": -1.5, "forces": [[0] * 3] * 5, "stress": None},
    }


def test_a_part_and_its_name_are_on_disk_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is synced before it has its name, the folder after it."""
    synced: list[tuple[str, bool]] = []
    path, arrays, fsync = part_path(tmp_path, "p"), arrays_of(mixed("p", 1)), os.fsync

    def note(descriptor: int) -> None:
        synced.append((Path(os.readlink(f"/proc/self/fd/{descriptor}")).name, path.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    assert write_part(path, receipt_of(arrays), arrays)
    (file, was_there), folder = synced
    assert (file.endswith(".tmp"), was_there) == (True, False)
    assert folder == ("parts", True)


def test_a_part_that_may_not_be_read_is_unavailable_not_corrupt(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, mode: str) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(Unavailable, match="Permission denied"):
        read_part(path)


def test_a_missing_part_is_unavailable_not_corrupt(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="can't be read"):
        read_part(part_path(tmp_path, "p"))


def test_parts_are_listed_and_leftovers_of_killed_writers_removed(path: Path) -> None:
    leftover = path.parent / ".q.h5.host-1-abc.tmp"
    leftover.write_bytes(b"half")
    part = path.rename(path.with_name("full-molecules-00000.h5"))
    assert list_parts(path.parents[1]) == ["full-molecules-00000"]
    remove_unfinished_parts(path.parents[1])
    assert list(path.parent.iterdir()) == [part]


def test_small_files_that_this_process_writes_are_not_removed_under_its_hands(tmp_path: Path) -> None:
    left = tmp_path / ".state.json.host-1-abc-def.tmp"
    left.write_text("half")
    unfinished = tmp_path / ".dataset.h5.host-1-abc-def.tmp"
    unfinished.write_text("half")
    remove_unfinished_files(tmp_path)
    assert list(tmp_path.iterdir()) == [unfinished]
    with write_whole(tmp_path / "state.json") as temporary:
        temporary.write_text("whole")
        remove_unfinished_files(tmp_path)
        remove_unfinished_parts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_a_full_disk_leaves_no_trace_and_no_dead_process(tmp_path: Path) -> None:
    """Real limits of the file's size, in a process of its own: HDF5 alone would crash it."""
    script = f"""
        import resource
        from pathlib import Path
        from distillery.dataset.folder import part_path
        from distillery.dataset.parts import write_part, read_part
        from tests.labelling import mixed
        from tests.unit.test_parts import arrays_of, receipt_of
        path, arrays = part_path(Path({str(tmp_path)!r}), "p"), arrays_of(mixed("p", 200))
        for limit in (0, 100, 5_000, 20_000, 60_000):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            try:
                write_part(path, receipt_of(arrays), arrays)
            except OSError as error:
                print(error.strerror, list(path.parent.iterdir()))
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print(write_part(path, receipt_of(arrays), arrays), len(read_part(path).arrays["labels/energy"]))
    """
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["File too large []"] * 5 + ["True 200"]


def test_a_folder_that_cannot_be_written_leaves_no_trace(tmp_path: Path) -> None:
    (tmp_path / "parts").write_text("a file where the folder should be")
    arrays = arrays_of(mixed("p", 1))
    with pytest.raises(OSError, match="parts"):
        write_part(part_path(tmp_path, "p"), receipt_of(arrays), arrays)
    assert [p.name for p in tmp_path.iterdir()] == ["parts"]


def test_selecting_structures_keeps_their_rows_together(path: Path) -> None:
    arrays = read_part(path).arrays
    keep = np.array([True, False, True, False, True])
    chosen = select_structures(arrays, keep)
    expected = arrays_of([s for s, k in zip(mixed("p", 5), keep, strict=True) if k])
    for name in COLUMNS:
        assert np.array_equal(chosen[name], expected[name]), name


def test_parts_open_with_plain_h5py(path: Path) -> None:
    with h5py.File(path, "r") as file:
        assert read_arrays(file)["labels/energy"].shape == (5,)
