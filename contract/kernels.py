"""Kernels of numpy and OpenBLAS: both choose theirs by the processor, and that decides the last bit of a result."""

import os
import platform

import numpy as np

_OLDEST_CORE = {"x86_64": "Nehalem", "AMD64": "Nehalem"}
"""The name OpenBLAS has for the least processor that numpy runs on, by machine; others are not pinned."""


def pin_kernels() -> None:
    """Have processes that start from now on compute with kernels that every x86-64 processor has, so that all give the same bits.

    A last bit is not harmless: where two supercells fit equally well, it chooses between them. Sets OPENBLAS_CORETYPE and
    NPY_DISABLE_CPU_FEATURES, which both are read once, when numpy is imported; so this process itself stays as it is.
    """
    if platform.machine() in _OLDEST_CORE:
        os.environ["OPENBLAS_CORETYPE"] = _OLDEST_CORE[platform.machine()]
        os.environ["NPY_DISABLE_CPU_FEATURES"] = " ".join(_list_optional_features())


def _list_optional_features() -> list[str]:
    """What numpy makes use of beyond its baseline, on processors that have it, by numpy's own names."""
    extensions = np.show_config(mode="dicts")["SIMD Extensions"]
    return [*extensions.get("found", []), *extensions.get("not found", [])]
