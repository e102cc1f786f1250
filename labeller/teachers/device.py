"""Which device a teacher runs on."""

import torch

from contract.problems import Unavailable


def choose_device(wanted: str) -> str:
    """cpu or cuda; auto is cuda where there is one. Unavailable if cuda is wanted and missing."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise Unavailable("DISTILLERY_LABELLER_DEVICE is cuda, but torch finds no CUDA device; set it to cpu or auto")
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


def release_cuda_memory() -> None:
    """Empty torch's cache where CUDA is in use."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
