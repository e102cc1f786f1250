"""Which device a model runs on. Needs torch only when called."""

from typing import Literal

from contract.problems import Unavailable

Device = Literal["auto", "cpu", "cuda"]


def choose_device(wanted: Device, variable: str) -> str:
    """cpu or cuda; auto is cuda where there is one. Unavailable, naming the setting, if cuda is wanted and missing."""
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise Unavailable(f"{variable} is cuda, but torch finds no CUDA device; set it to cpu or auto")
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


def release_cuda_memory() -> None:
    """Empty torch's cache where CUDA is in use."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: torch's, CUDA's and Warp's words for it, or Python's."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(
        words in text for words in ("out of memory", "failed to allocate", "can't allocate memory", "cannot allocate memory")
    )
