"""The versions of the libraries that a service's result depends on."""

import platform
from importlib.metadata import version

from distillery.runtime.machine import describe_processor

_OF_THE_CONTRACT = ("numpy", "ase", "vesin")
"""What perturbs, checks and hashes every service's structures."""


def name_versions(*packages: str) -> dict[str, str]:
    """The versions of these installed packages, and of those with which this library itself changes and checks structures."""
    return {package: version(package) for package in dict.fromkeys((*packages, *_OF_THE_CONTRACT))}


def name_machine() -> dict[str, str]:
    """What decides the last bit of a result besides libraries: the processor, and the C library with its sin, exp, pow, ..."""
    return {"processor": describe_processor(), "libc": " ".join(platform.libc_ver()).strip() or "not glibc"}
