"""What several test processes need is made by the first that asks for it; the others wait and use the same."""

import fcntl
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Any]) -> tuple[Path, Any]:
    """A folder that `make` has filled, and what it returned (JSON), for all of this run's processes.

    DISTILLERY_TEST_FOLDER, where set, is shared by several runs of the same checkout.
    """
    shared = _find_folder(factory)
    folder, result = shared / name, shared / f"{name}.json"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not result.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            result.write_text(json.dumps(make(folder)))
    return folder, json.loads(result.read_text())


def _find_folder(factory: pytest.TempPathFactory) -> Path:
    if given := os.environ.get("DISTILLERY_TEST_FOLDER"):
        Path(given).mkdir(parents=True, exist_ok=True)
        return Path(given)
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
