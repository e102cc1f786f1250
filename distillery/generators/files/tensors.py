"""Pickled PyG graphs as plain arrays, without torch and without running anything the pickle names.

Pickles can run any code when loaded, and these come from the network. Only the names in `_KNOWN` are understood, and
each leads to something inert of this module or of numpy; anything else refuses the whole pickle.
"""

import io
import math
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


class HarmfulPickle(ValueError):
    """It names what no graph needs, and may run it: nothing of such a file is taken."""


class Record:
    """Stands for an object of PyG: its attributes and nothing else."""


@dataclass(frozen=True)
class Storage:
    """The bytes of a torch storage as `torch.save` writes them (the format before zip files)."""

    content: bytes

    def read(self) -> NDArray[Any]:
        """The values, one-dimensional; ValueError if the bytes are anything else."""
        file = io.BytesIO(self.content)
        magic, protocol, system = (_load_plain(file) for _ in range(3))
        if magic != _MAGIC or protocol != _PROTOCOL or not system["little_endian"]:
            raise ValueError(f"a storage of an unknown format: {magic!r}, {protocol!r}, {system!r}")
        kind, dtype, _, _, n_values, view = _load_plain(file)
        if kind != "storage" or view is not None:
            raise ValueError(f"not a plain storage: {kind!r}, {view!r}")
        _load_plain(file)
        n_stored = int.from_bytes(file.read(8), "little")
        values = np.frombuffer(file.read(), dtype)
        if len(values) != n_values or n_stored != n_values:
            raise ValueError(f"a storage of {n_values} values holds {len(values)}")
        return values


@dataclass(frozen=True)
class Tensor:
    """A torch tensor that is not read yet: part of a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def read(self) -> NDArray[Any]:
        """The values in the tensor's shape; ValueError if they would lie outside the storage."""
        values = self.storage.read()
        sizes = (self.offset, *self.shape, *self.strides)
        if len(self.shape) != len(self.strides) or not all(type(n) is int and n >= 0 for n in sizes):
            raise ValueError(f"a tensor of shape {self.shape}, strides {self.strides} and offset {self.offset}")
        last = self.offset + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        n_values = math.prod(self.shape)
        if n_values > len(values) or (n_values and last >= len(values)):
            raise ValueError(f"a tensor of shape {self.shape} does not fit its storage of {len(values)} values")
        strides = [stride * values.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, strides).copy()


def _make_tensor(storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object) -> Tensor:
    if not isinstance(storage, Storage):
        raise ValueError(f"a tensor over {storage!r}")
    return Tensor(storage, offset, tuple(shape), tuple(strides))


def _encode(text: str, encoding: str) -> bytes:
    """How old pickles write bytes."""
    if encoding != "latin1":
        raise ValueError(f"bytes written as {encoding}")
    return text.encode("latin1")


class _ArrayKind:
    """Stands for `numpy.ndarray`, which could be asked for any amount of memory."""


def _make_array(kind: object, shape: tuple[int, ...], code: object) -> NDArray[Any]:
    """How a pickle begins an array: empty, to be filled from bytes that it holds."""
    if kind is not _ArrayKind or tuple(shape) != (0,):
        raise ValueError(f"an array begun as {kind!r} of shape {shape!r}")
    return np.empty(0)


_core: Any = np._core  # type: ignore[attr-defined]
_KNOWN: Mapping[tuple[str, str], Any] = {
    **{("torch_geometric.data.data", name): Record for name in ("Data", "DataEdgeAttr", "DataTensorAttr")},
    ("torch_geometric.data.storage", "GlobalStorage"): Record,
    ("torch._utils", "_rebuild_tensor_v2"): _make_tensor,
    ("torch._utils", "_rebuild_tensor"): _make_tensor,
    ("torch.storage", "_load_from_bytes"): Storage,
    ("torch", "Size"): tuple,
    ("collections", "OrderedDict"): OrderedDict,
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): _ArrayKind,
    ("_codecs", "encode"): _encode,
    **{
        (f"numpy.{core}.{module}", name): getattr(getattr(_core, module), name)
        for core in ("core", "_core")
        for module, name in (("multiarray", "scalar"), ("numeric", "_frombuffer"))
    },
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _make_array for core in ("core", "_core")},
}


_LONGEST_FAULT = 300
"""Characters."""
_MOST_STEPS = 20_000
"""Steps of one pickle (a graph has some 250): what is nested as deep as that ends the process when it is hashed."""
_NUMBERED = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})


def _refuse_bombs(file: io.BytesIO) -> None:
    """ValueError for a pickle that asks for memory without having the bytes for it; the file is where it was."""
    start = file.tell()
    for n, (step, argument, _) in enumerate(pickletools.genops(file)):
        if n > _MOST_STEPS or (step.name in _NUMBERED and int(argument) > _MOST_STEPS):  # type: ignore[arg-type]
            raise ValueError(f"a pickle of more than {_MOST_STEPS} steps")
    file.seek(start)


def _load_plain(file: io.BytesIO) -> Any:
    _refuse_bombs(file)
    return _Plain(file).load()


class _Graph(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise HarmfulPickle(f"the pickle names {module}.{name}, which is neither a graph, a tensor, an array nor a number")
        return _KNOWN[module, name]


class _Plain(pickle.Unpickler):
    """What heads a storage: numbers, texts, dicts and the kind of storage."""

    def find_class(self, module: str, name: str) -> Any:
        if module != "torch" or name not in _DTYPES:
            raise HarmfulPickle(f"the storage names {module}.{name}, which is no kind of storage")
        return np.dtype(_DTYPES[name])

    def persistent_load(self, pid: Any) -> Any:
        return pid


def load_graph(content: bytes) -> dict[str, Any]:
    """The attributes of a pickled `torch_geometric.data.Data`, tensors as `Tensor`; ValueError if it is anything else.

    Understood are both layouts: attributes in the object itself (PyG before 2.0) and in its `_store`.
    """
    try:
        _refuse_bombs(file := io.BytesIO(content))
        return _attributes_of(_Graph(file).load())
    except HarmfulPickle:
        raise
    except Exception as error:  # the pickle module: anything may be raised on data that is not a pickle
        raise ValueError(str(error)[:_LONGEST_FAULT]) from error


def _attributes_of(graph: object) -> dict[str, Any]:
    if not isinstance(graph, Record):
        raise ValueError(f"a pickled {type(graph).__name__}, not a graph")
    fields = vars(graph)
    store = fields.get("_store")
    attributes = vars(store).get("_mapping") if isinstance(store, Record) else fields
    if not isinstance(attributes, dict):
        raise ValueError("a graph without attributes")
    return {str(key): value for key, value in attributes.items() if value is not None}


def to_array(value: object) -> NDArray[Any]:
    """A tensor, array or number as an array of numbers; ValueError otherwise."""
    try:
        array = value.read() if isinstance(value, Tensor) else np.asarray(value)
    except HarmfulPickle:
        raise
    except Exception as error:  # a storage is a pickle too
        raise ValueError(f"an unreadable tensor: {str(error)[:_LONGEST_FAULT]}") from error
    if array.dtype.kind not in "fiub":
        raise ValueError(f"numbers were wanted, not {array.dtype}")
    return array
