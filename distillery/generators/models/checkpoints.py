"""Checkpoints converted once: from an untrusted pickle to safetensors with the configuration as JSON in the same file."""

import hashlib
import inspect
import json
import logging
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from distillery.errors import Unavailable
from distillery.generators.models.untrusted_pickle import Allowed, load_untrusted

_CONFIG = "config"
_SUFFIX = ".converted"
"""Not .safetensors: among weights it is no part of a checkpoint (`distillery.weights.catalogue`)."""
_log = logging.getLogger("distillery")

Pick = Callable[[Any], tuple[Mapping[str, Tensor], Mapping[str, Any]]]
"""Takes the tensors and the configuration (what JSON can hold) that a model needs out of what its checkpoint held, in plain values."""


@dataclass(frozen=True)
class Converted:
    """A checkpoint's tensors, on the CPU, and its configuration as JSON has it: string keys, lists for tuples."""

    tensors: dict[str, Tensor]
    config: dict[str, Any]


def convert_once(file: Path, sha256: str, target_folder: Path | None, allowed: Allowed, pick: Pick) -> Converted:
    """What `pick` takes out of the checkpoint `file` of this sha256; from `target_folder` if it was converted there before.

    Nothing of the pickle is executed: names other than torch's own, those of `allowed` and of `pickles.COMMON` are refused.
    Where the folder is None or can't be written nothing is kept; a change of the module that `pick` is in converts anew.
    Unavailable says what is wrong with the file.
    """
    place = None if target_folder is None else _place(target_folder, sha256, pick)
    kept = None if place is None else _read(place)
    if kept is not None:
        return kept
    made = _convert(file, allowed, pick)
    if place is not None:
        _write(place, made)
    return made


def _convert(file: Path, allowed: Allowed, pick: Pick) -> Converted:
    content = load_untrusted(file, allowed)
    try:
        tensors, config = pick(content)
        return Converted({str(name): _copy(name, tensor) for name, tensor in tensors.items()}, json.loads(json.dumps(dict(config))))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Unavailable(f"{file} is not laid out like a checkpoint of this model ({type(error).__name__}: {error})") from error


def _copy(name: str, tensor: Any) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"the weights {name!r} are a {type(tensor).__name__}, wanted a tensor")
    return tensor.detach().clone().contiguous()


def _place(folder: Path, sha256: str, pick: Pick) -> Path:
    """`<source>-<what is picked>-<version of the module that picks>`."""
    module = Path(inspect.getfile(pick))
    version = hashlib.sha256(module.read_bytes()).hexdigest()[:8]
    return folder / f"{sha256[:16]}-{module.stem}.{getattr(pick, '__name__', '')}-{version}{_SUFFIX}"


def _read(place: Path) -> Converted | None:
    if not place.is_file():
        return None
    try:
        with safe_open(place, framework="pt", device="cpu") as file:
            return Converted({name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()[_CONFIG]))  # noqa: SIM118
    except SafetensorError as error:
        _log.warning("%s is damaged and is made again: %s", place, error)
        return None


def _write(place: Path, made: Converted) -> None:
    """Whole or not at all; those that an earlier version of this program made of the same file go."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".converting-", dir=place.parent) as unfinished:
            save_file(made.tensors, Path(unfinished) / place.name, {_CONFIG: json.dumps(made.config)})
            (Path(unfinished) / place.name).replace(place)
        for old in place.parent.glob(f"{place.name.rpartition('-')[0]}-*{_SUFFIX}"):
            if old != place:
                old.unlink()
    except (OSError, SafetensorError) as error:
        _log.info("the converted checkpoint can't be kept, so every start converts it again: %s", error)
