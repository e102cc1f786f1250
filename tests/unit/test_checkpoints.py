"""Checkpoints: what an untrusted file may hold, what is refused by name, and the converted file that is kept."""

import collections
import hashlib
import os
import pathlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from easydict import EasyDict
from omegaconf import OmegaConf
from torch import Tensor

from distillery.errors import Unavailable
from distillery.generators.models.checkpoints import Converted, convert_once
from distillery.generators.models.untrusted_pickle import InertObject, load_untrusted

FORMATS = pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> Any:
        return self._call


class Scaler:
    """A foreign class with a state."""

    def __init__(self) -> None:
        self.mean = torch.tensor([1.5])


def save(content: Any, path: Path, is_zip: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    return path


def pick(content: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    return content["state_dict"], content["hyper_parameters"]


def pick_step(content: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    return {"step": content["state_dict"]["step"]}, {}


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@FORMATS
def test_what_models_keep_in_checkpoints_is_read_as_plain_values(tmp_path: Path, is_zip: bool) -> None:
    from pytorch_lightning.utilities.parsing import AttributeDict  # a second of every process that lists tests

    config = {"a": 1, "b": [1, 2.5, {"c": "${a}"}], "d": None, "e": "???", "f": True, "g": "x"}
    content = {
        "easydict": EasyDict(model=EasyDict(dim=256, name="x"), sizes=[1, EasyDict(a=2)], pair=(1, 2)),
        "omegaconf": OmegaConf.create(config),
        "omegaconf list": OmegaConf.create([1, {"a": "b"}]),
        "attributes": AttributeDict(lr=0.1),
        "default": collections.defaultdict(dict, {"a": {"b": 1}}),
        "path": pathlib.PurePosixPath("/runs/1"),
        "float": np.float64(0.25),
        "int": np.int64(-3),
        "bool": np.bool_(True),
        "array": np.arange(6.0).reshape(2, 3, order="F"),
        "big-endian": np.array([1, 258], dtype=">i4"),
        "bytes": b"\x00\xff",
        "set": frozenset([7]),
        "size": torch.Size([2, 3]),
    }
    assert load_untrusted(save(content, tmp_path / "a.pt", is_zip), {}) == {
        "easydict": {"model": {"dim": 256, "name": "x"}, "sizes": [1, {"a": 2}], "pair": [1, 2]},
        "omegaconf": config,
        "omegaconf list": [1, {"a": "b"}],
        "attributes": {"lr": 0.1},
        "default": {"a": {"b": 1}},
        "path": "/runs/1",
        "float": 0.25,
        "int": -3,
        "bool": True,
        "array": content["array"].tolist(),
        "big-endian": [1, 258],
        "bytes": b"\x00\xff",
        "set": [7],
        "size": [2, 3],
    }


def test_what_other_packages_allow_is_neither_taken_nor_forgotten(tmp_path: Path) -> None:
    path = save({"default": collections.defaultdict(list, {"a": [1]}), "scaler": Scaler()}, tmp_path / "a.pt")
    others = [collections.defaultdict, Scaler]
    with torch.serialization.safe_globals(others):
        with pytest.raises(Unavailable, match="Scaler"):
            load_untrusted(path, {})
        assert load_untrusted(path, {f"{Scaler.__module__}.Scaler": InertObject})["default"] == {"a": [1]}
        assert set(others) <= set(torch.serialization.get_safe_globals())


@FORMATS
def test_tensors_keep_values_types_and_views(tmp_path: Path, is_zip: bool) -> None:
    whole = torch.arange(12, dtype=torch.float64).reshape(3, 4)
    content = {"view": whole[1:, ::2], "half": torch.ones(2, dtype=torch.bfloat16), "parameter": torch.nn.Parameter(torch.ones(3))}
    read = load_untrusted(save(content, tmp_path / "a.pt", is_zip), {})
    for name, tensor in content.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)


@FORMATS
@pytest.mark.parametrize(
    ("function", "name"),
    [(os.system, "posix.system"), (eval, "eval"), (exec, "exec"), (pickle.loads, "pickle.loads"), (Path.unlink, "getattr")],
)
def test_what_would_run_is_refused_by_name_and_does_not_run(tmp_path: Path, is_zip: bool, function: Any, name: str) -> None:
    witness = tmp_path / "witness"
    witness.touch()
    argument: Any = {"pickle.loads": b"\x80\x02K\x01."}.get(name, f"rm {witness}")
    path = save({"state_dict": {}, "evil": Call(function, argument)}, tmp_path / "a.pt", is_zip)
    with pytest.raises(Unavailable) as problem:
        load_untrusted(path, {})
    assert name in problem.value.detail
    assert "weights_only" not in problem.value.detail
    assert witness.exists()


def test_a_class_that_is_not_allowed_is_refused_and_an_allowed_one_stands_in(tmp_path: Path) -> None:
    name = f"{Scaler.__module__}.Scaler"
    path = save({"scaler": Scaler()}, tmp_path / "a.pt")
    with pytest.raises(Unavailable, match="Scaler"):
        load_untrusted(path, {})
    assert load_untrusted(path, {name: InertObject})["scaler"]["mean"].tolist() == [1.5]
    with pytest.raises(Unavailable, match="Scaler"):
        load_untrusted(path, {})


def test_objects_inside_numpy_arrays_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="object"):
        load_untrusted(save({"a": np.array([{"b": 1}], dtype=object)}, tmp_path / "a.pt"), {})


@pytest.mark.parametrize(
    "content", [b"", b"no checkpoint at all", b"PK\x03\x04 cut off", pickle.dumps({"a": 1}, protocol=4), b"\x80\x02}q\x00(X"], ids=len
)
def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(Unavailable, match=r"a\.pt is no checkpoint that can be trusted or read"):
        load_untrusted(tmp_path / "a.pt", {})


def test_a_checkpoint_cut_off_in_the_middle_is_named(tmp_path: Path) -> None:
    path = save({"a": torch.arange(10_000)}, tmp_path / "a.pt")
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(Unavailable, match=r"a\.pt is no checkpoint"):
        load_untrusted(path, {})


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    shared = torch.arange(4.0)
    state = {"w": shared, "tied": shared, "step": torch.tensor(3), "t": torch.arange(6.0).reshape(2, 3).T}
    return save({"state_dict": state, "hyper_parameters": EasyDict(n=2, sizes=(1, 2))}, tmp_path / "last.ckpt")


def same(a: Converted, b: Converted) -> bool:
    is_same = a.tensors.keys() == b.tensors.keys() and all(torch.equal(a.tensors[name], b.tensors[name]) for name in a.tensors)
    return is_same and a.config == b.config


def test_a_checkpoint_is_converted_once_and_then_read_without_the_pickle(checkpoint: Path, tmp_path: Path) -> None:
    sha256 = sha256_of(checkpoint)
    first = convert_once(checkpoint, sha256, tmp_path / "converted", {}, pick)
    assert first.config == {"n": 2, "sizes": [1, 2]}
    assert torch.equal(first.tensors["tied"], torch.arange(4.0))
    assert torch.equal(first.tensors["t"], torch.arange(6.0).reshape(2, 3).T)
    assert [path.suffix for path in (tmp_path / "converted").iterdir()] == [".converted"]
    checkpoint.unlink()
    assert same(convert_once(checkpoint, sha256, tmp_path / "converted", {}, pick), first)


def test_another_checkpoint_is_another_file(checkpoint: Path, tmp_path: Path) -> None:
    convert_once(checkpoint, sha256_of(checkpoint), tmp_path / "converted", {}, pick)
    save({"state_dict": {"w": torch.zeros(1)}, "hyper_parameters": {}}, checkpoint)
    assert convert_once(checkpoint, sha256_of(checkpoint), tmp_path / "converted", {}, pick).tensors["w"].tolist() == [0.0]
    assert len(list((tmp_path / "converted").iterdir())) == 2


def test_a_change_of_what_is_picked_converts_anew_and_removes_the_old(checkpoint: Path, tmp_path: Path) -> None:
    sha256 = sha256_of(checkpoint)
    old = tmp_path / "converted" / f"{sha256[:16]}-test_checkpoints.pick-00000000.converted"
    old.parent.mkdir()
    old.write_bytes(b"made by an earlier version")
    convert_once(checkpoint, sha256, tmp_path / "converted", {}, pick)
    (kept,) = (tmp_path / "converted").iterdir()
    assert kept != old


def test_two_things_picked_from_one_checkpoint_are_kept_apart(checkpoint: Path, tmp_path: Path) -> None:
    sha256 = sha256_of(checkpoint)
    for _ in range(2):
        assert convert_once(checkpoint, sha256, tmp_path / "converted", {}, pick).config == {"n": 2, "sizes": [1, 2]}
        assert convert_once(checkpoint, sha256, tmp_path / "converted", {}, pick_step).config == {}
    assert len(list((tmp_path / "converted").iterdir())) == 2


def test_a_broken_converted_file_is_made_anew(checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sha256 = sha256_of(checkpoint)
    first = convert_once(checkpoint, sha256, tmp_path / "converted", {}, pick)
    (kept,) = (tmp_path / "converted").iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-8])
    assert same(convert_once(checkpoint, sha256, tmp_path / "converted", {}, pick), first)
    assert kept.read_bytes() == whole
    assert "is damaged and is made again" in caplog.text


@pytest.mark.parametrize("folder", [None, "in the way/converted"])
def test_without_a_folder_to_write_nothing_is_kept(checkpoint: Path, tmp_path: Path, folder: str | None) -> None:
    (tmp_path / "in the way").write_text("a file")
    target = None if folder is None else tmp_path / folder
    assert convert_once(checkpoint, sha256_of(checkpoint), target, {}, pick).config["n"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in the way", "last.ckpt"]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"state_dict": {"w": [1.0]}, "hyper_parameters": {}}, "'w' are a list, wanted a tensor"),
        ({"state_dict": [torch.ones(1)], "hyper_parameters": {}}, "list"),
        ({"state_dict": {}, "hyper_parameters": {"key": b"bytes"}}, "bytes is not JSON"),
        ({"state_dict": {}, "hyper_parameters": {"key": torch.ones(1)}}, "Tensor is not JSON"),
        ({"state_dict": {}, "hyper_parameters": 3}, "int"),
    ],
)
def test_what_is_no_tensor_among_weights_or_no_value_in_a_configuration_is_named(tmp_path: Path, content: Any, named: str) -> None:
    with pytest.raises(Unavailable, match=f"a.pt is not laid out like a checkpoint of this model .*{named}"):
        convert_once(save(content, tmp_path / "a.pt"), "0" * 64, None, {}, pick)


def test_a_checkpoint_of_another_layout_is_named(tmp_path: Path) -> None:
    path = save({"model": {}}, tmp_path / "last.ckpt")
    with pytest.raises(Unavailable, match=r"last\.ckpt is not laid out like a checkpoint of this model \(KeyError: 'state_dict'\)"):
        convert_once(path, sha256_of(path), None, {}, pick)


def test_a_flipped_bit_in_an_archive_is_found(tmp_path: Path) -> None:
    path = save({"weights": torch.arange(512.0)}, tmp_path / "a.pt")
    content = bytearray(path.read_bytes())
    at = content.index(torch.arange(512.0).numpy().tobytes()[1000:1100])
    content[at] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(Unavailable, match=r"a\.pt is damaged: the checksum of \S+ in it is wrong"):
        load_untrusted(path, {})
