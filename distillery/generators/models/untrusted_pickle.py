"""Untrusted pickles: read by torch's weights-only unpickler, with placeholders for the foreign classes that checkpoints hold."""

import re
import threading
import warnings
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from pickle import UnpicklingError
from typing import Any, Self

import numpy as np
import torch

from distillery.errors import Unavailable

Allowed = Mapping[str, Any]
"""What stands for each foreign `module.Class` or `module.function` of a pickle: one of the stand-ins here, or something as harmless."""
_REFUSED_NAME = re.compile(r"GLOBAL ([\w.]+)")
_REFUSED_STEP = re.compile(r"Unsupported operand \d+|Can only [^\n]*|Trying to call [^\n]*")
_NUMERIC = "biuf"
_lock = threading.Lock()
"""torch's allow list is the process's."""


class InertObject:
    """Stands for any class: keeps arguments and state, does nothing."""

    def __new__(cls, *arguments: Any) -> Self:
        made = super().__new__(cls)
        made.arguments, made.state = arguments, {}
        return made

    arguments: tuple[Any, ...]
    state: Any

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def content(self) -> Any:
        """What it held: the state, or the arguments if it has none."""
        return self.state or list(self.arguments)


class DictLike:
    """Stands for subclasses of dict; what is made is an OrderedDict, which torch's unpickler fills."""

    def __new__(cls, *_: Any) -> Any:
        """Arguments (a defaultdict's factory) do not matter."""
        return OrderedDict()


class OmegaNode(InertObject):
    """Stands for omegaconf's containers and nodes; interpolations stay text."""

    def content(self) -> Any:
        """The items, or the value."""
        return self.state["_content"] if "_content" in self.state else self.state.get("_val")


class _DType(InertObject):
    def resolve(self) -> np.dtype[Any]:
        """The dtype; numbers only, for objects would be pickles again."""
        dtype = np.dtype(str(self.arguments[0]))
        if dtype.kind not in _NUMERIC:
            raise ValueError(f"numpy arrays of {dtype} are not allowed")
        return dtype.newbyteorder(self.state[1]) if self.state else dtype


class _Array(InertObject):
    def content(self) -> Any:
        """Nested lists of numbers."""
        _, shape, dtype, is_fortran, data = self.state
        return np.frombuffer(data, dtype.resolve()).reshape(shape, order="F" if is_fortran else "C").tolist()


def _make_scalar(dtype: _DType, data: bytes) -> Any:
    return np.frombuffer(data, dtype.resolve())[0].item()


def _join_path(*parts: str) -> str:
    return str(PurePosixPath(*parts))


_OMEGACONF_NODES = ("Any", "Boolean", "Bytes", "Enum", "Float", "Integer", "InterpolationResult", "Path", "String")
COMMON: Allowed = {
    "builtins.frozenset": list,
    "collections.defaultdict": DictLike,
    "easydict.EasyDict": DictLike,
    "omegaconf.base.ContainerMetadata": InertObject,
    "omegaconf.base.Metadata": InertObject,
    "omegaconf.base.SCMode": InertObject,
    "omegaconf.base.UnionNode": OmegaNode,
    "omegaconf.dictconfig.DictConfig": OmegaNode,
    "omegaconf.listconfig.ListConfig": OmegaNode,
    "omegaconf.nodes.ValueNode": OmegaNode,
    "typing.Any": InertObject,
    **{f"omegaconf.nodes.{kind}Node": OmegaNode for kind in _OMEGACONF_NODES},
    **{f"builtins.{name}": InertObject for name in ("bool", "bytes", "dict", "float", "int", "list", "object", "str", "tuple", "type")},
    **{f"pathlib{module}.{name}": _join_path for module in ("", "._local") for name in ("PosixPath", "PurePosixPath", "WindowsPath")},
    **{
        f"{package}.AttributeDict": DictLike
        for package in (
            "lightning.fabric.utilities.data",
            "lightning.pytorch.utilities.parsing",
            "lightning_fabric.utilities.data",
            "pytorch_lightning.utilities.parsing",
        )
    },
    "numpy.dtype": _DType,
    "numpy.ndarray": InertObject,
    **{f"numpy.{core}.multiarray.scalar": _make_scalar for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray._reconstruct": _Array for core in ("core", "_core")},
}
"""What configurations and training loops leave in checkpoints, always allowed."""


def load_untrusted(file: Path, allowed: Allowed) -> Any:
    """What a checkpoint holds, in plain dicts, lists and values (`to_plain`); Unavailable names what is not allowed or damaged in it."""
    if (damaged := _find_damaged(file)) is not None:
        raise Unavailable(f"{file} is damaged: the checksum of {damaged} in it is wrong; fetch or copy it again")
    with _lock, warnings.catch_warnings(), _allowing({**COMMON, **allowed}):
        warnings.simplefilter("ignore")  # of other pickle protocols, and of torch's own old storages
        try:
            return to_plain(torch.load(file, map_location="cpu", weights_only=True))
        except Exception as error:  # an untrusted file can make an unpickler fail in any way
            raise Unavailable(f"{file} is no checkpoint that can be trusted or read: {_explain(file, error)}") from error


def _find_damaged(file: Path) -> str | None:
    """The first entry whose CRC, which torch does not look at, is wrong; None too where the file is no archive that can be read."""
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.testzip()
    except (zipfile.BadZipFile, NotImplementedError, OSError, EOFError, zlib.error):
        return None  # torch says what is wrong with it


@contextmanager
def _allowing(names: Allowed) -> Iterator[None]:
    """Inside, these alone: other packages add real classes to the list, also under names that have a stand-in here."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals([(replacement, name) for name, replacement in names.items()])
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def to_plain(value: Any) -> Any:
    """Placeholders as plain dicts, lists and values, recursively; tensors and what is unknown as they are."""
    if isinstance(value, InertObject):
        return to_plain(value.content())
    if isinstance(value, Mapping):
        return {to_plain(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_plain(item) for item in value]
    return value


def _explain(file: Path, error: Exception) -> str:
    try:
        refused = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(file)))
    except Exception:  # it can't be listed: a file of the old format, or a broken one
        refused = _REFUSED_NAME.findall(str(error))[:1]
    if refused:
        return f"it would run or make {', '.join(refused)}, which is not on the list of what this model's checkpoints may hold"
    if isinstance(error, UnpicklingError):  # torch's text goes on to advise what must not be done
        return f"its pickle holds what torch.save does not write ({', '.join(_REFUSED_STEP.findall(str(error))) or 'malformed'})"
    return f"{type(error).__name__}: {str(error).partition('.')[0][:200]}"
