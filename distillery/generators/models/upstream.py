"""Upstream's code: found in a folder, known by its digest, imported without leaving its names behind."""

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distillery.errors import Unavailable

VARIABLE = "UPSTREAM_DIR"


def find_upstream(name: str, repository: str, commit: str) -> Path:
    """The checkout of a model's repository in $UPSTREAM_DIR/<name>; Unavailable says how to get it."""
    folder = Path(os.environ.get(VARIABLE, "/opt/upstream")) / name
    if not folder.is_dir():
        raise Unavailable(
            f"upstream's code of {name} should be in {folder}; check out https://github.com/{repository} at {commit} there, or set "
            f"{VARIABLE} to the folder that holds it as {name}/ (the images bring it along)"
        )
    return folder


def digest_upstream(folder: Path) -> str:
    """sha256 over the relative paths and contents of all Python files below `folder`, sorted."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return digest.hexdigest()


@contextmanager
def importing_from(folder: Path) -> Iterator[None]:
    """Inside, imports find `folder` first; afterwards its modules are forgotten, for two upstreams may both have a `models`.

    What was imported stays usable by those who hold it; imports that upstream makes later, inside functions, do not.
    """
    mine = {path.name.removesuffix(".py") for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()}
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in mine}
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in list(sys.modules):
            if name.partition(".")[0] in mine:
                del sys.modules[name]
        sys.modules.update(hidden)
