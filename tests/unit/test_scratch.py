"""What is kept out of memory is found again: scratch files, key indices and packed texts, against dicts and lists."""

import threading
from pathlib import Path

import numpy as np
import pytest

from distillery.runtime.scratch import Scratch, ScratchFile, ScratchMemory
from distillery.structures.key_index import KeyIndex
from distillery.structures.packed_texts import PackedTexts


@pytest.fixture(params=["file", "memory"])
def scratch(request: pytest.FixtureRequest, tmp_path: Path) -> Scratch:
    return ScratchFile(tmp_path) if request.param == "file" else ScratchMemory()


def test_what_was_kept_is_read_by_its_place(scratch: Scratch) -> None:
    places = [scratch.append(content) for content in (b"one", b"", b"three")]
    assert places == [0, 3, 3]
    assert [scratch.read(place, size) for place, size in zip(places, (3, 0, 5), strict=True)] == [b"one", b"", b"three"]


def test_a_scratch_file_has_no_name(tmp_path: Path) -> None:
    scratch = ScratchFile(tmp_path)
    scratch.append(b"content")
    assert list(tmp_path.iterdir()) == []


def test_where_the_folder_cant_be_written_to_the_machine_has_room(tmp_path: Path) -> None:
    scratch = ScratchFile(tmp_path / "not there")
    assert scratch.read(scratch.append(b"content"), 7) == b"content"


def test_threads_keep_side_by_side(tmp_path: Path) -> None:
    scratch, places = ScratchFile(tmp_path), dict[int, list[int]]()
    threads = [
        threading.Thread(target=lambda k=k: places.update({k: [scratch.append(bytes([k]) * 100) for _ in range(200)]})) for k in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(scratch.read(place, 100) == bytes([k]) * 100 for k, own in places.items() for place in own)


def test_an_index_holds_what_a_dict_does_in_the_order_it_came_in() -> None:
    rng = np.random.default_rng(0)
    keys, index, wanted = rng.integers(0, 2000, 9000).tolist(), KeyIndex("<u4"), dict[int, list[int]]()
    for number, key in enumerate([*keys, 2**64 - 1]):
        assert index.find(key).tolist() == wanted.get(key, [])
        index.add(key, number)
        wanted.setdefault(key, []).append(number)
    assert all(index.find(key).tolist() == numbers for key, numbers in wanted.items())
    assert index.find(2001).tolist() == []


@pytest.mark.parametrize("n", [0, 1, 100, 2048, 2049, 9000])
def test_which_of_many_keys_an_index_holds(n: int) -> None:
    rng = np.random.default_rng(n)
    keys, asked, index = rng.integers(0, 5000, n).tolist(), [0, 2**64 - 1, *range(2, 6000)], KeyIndex("<u4")
    for key in (*keys, 2**64 - 1):
        index.add(key, 0)
    assert index.holds(np.array(asked, np.uint64)).tolist() == [key in {*keys, 2**64 - 1} for key in asked]
    assert index.holds(np.zeros(0, np.uint64)).tolist() == []


@pytest.mark.parametrize("texts", [[], ["a"], ["full-a-00001/0000", "full-a-00001/0001/12"], ["x", "ü", ""], ["same", "same"]])
def test_packed_texts_are_a_sequence_of_them(texts: list[str]) -> None:
    packed = PackedTexts(texts)
    assert (list(packed), len(packed), [packed[row] for row in range(len(texts))]) == (texts, len(texts), texts)
    assert list(packed[1:]) == texts[1:]
    assert list(packed.choose(np.arange(len(texts))[::-1])) == texts[::-1]
    assert packed == PackedTexts(texts)
    assert packed != PackedTexts([*texts, "more"])


def test_a_text_that_an_array_would_shorten_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        PackedTexts(["a", "b\0"])
