"""The versions of the libraries that a service's result depends on."""

from importlib.metadata import version

_OF_THE_CONTRACT = ("numpy", "ase", "matscipy")
"""What perturbs, checks and hashes every service's structures."""


def name_versions(*packages: str) -> dict[str, str]:
    """The versions of these installed packages, and of those with which this library itself changes and checks structures."""
    return {package: version(package) for package in dict.fromkeys((*packages, *_OF_THE_CONTRACT))}
