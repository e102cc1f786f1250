"""Which device a model runs on, and what its errors mean. Needs torch only when called."""

import sys
from typing import Literal, TypeVar

from distillery.errors import Unavailable

E = TypeVar("E", bound=BaseException)
Device = Literal["auto", "cpu", "cuda"]
_NO_MEMORY = (
    "out of memory",
    "out_of_memory",
    "failed to allocate",
    "can't allocate memory",
    "cannot allocate memory",
    "alloc_failed",
    "allocation_failed",
)
"""Words of torch, CUDA, Warp, cuBLAS, cuSOLVER and cuDNN."""


class DeviceLost(Unavailable):
    """No later work can succeed in this process."""

    @classmethod
    def of(cls, service: str, error: BaseException) -> "DeviceLost":
        """What a service says of a fatal error."""
        return cls(f"{service} has lost its device ({error}) and must be started again; compose.yaml does that by itself")


def choose_device(wanted: Device, variable: str) -> str:
    """cpu or cuda; auto is cuda where there is one. Unavailable, naming the setting, if cuda is wanted and missing."""
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise Unavailable(f"{variable} is cuda, but torch finds no CUDA device; set it to cpu or auto")
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


def name_device(device: str) -> str:
    """The GPU's model, as "NVIDIA H100 80GB HBM3", or the kind of processor, as "cpu AVX512": last digits differ with it."""
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else f"{device} {torch.backends.cpu.get_cpu_capability()}"


def release_cuda_memory() -> None:
    """Empty torch's cache where CUDA is in use. What an error that is being handled refers to stays: see `without_frames`."""
    if "torch" in sys.modules:
        sys.modules["torch"].cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, which another one may not."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in _NO_MEMORY)


def is_fatal(error: BaseException) -> bool:
    """Whether the device is lost for this process, so that no later batch can succeed."""
    return not is_out_of_memory(error) and "cuda error" in str(error).lower()


def without_frames(error: E) -> E:
    """The error alone: its traceback and causes keep every frame that it went through alive, and with them their tensors."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
