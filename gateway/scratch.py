"""Scratch datasets: folders among the datasets for parts that are compared and thrown away."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from contract.problems import Unavailable
from gateway.lock import hold_lock

_PREFIX = "verify-"
_ANY = _PREFIX + 32 * "[0-9a-f]"


@contextmanager
def hold_scratch(data: Path) -> Iterator[Path]:
    """An empty dataset folder below `data`, removed at the end; Conflict while another process has one there.

    It has no recipe, so that a gateway neither lists it nor takes it up at a restart. What a killed process left, or a
    labeller wrote after the end, the next one removes. Unavailable if `data` is not there or can't be written to.
    """
    folder = data / f"{_PREFIX}{uuid.uuid4().hex}"
    with ExitStack() as stack:
        try:
            stack.enter_context(hold_lock(data))
            for leftover in data.glob(_ANY):
                shutil.rmtree(leftover)
            folder.mkdir()
        except OSError as error:
            raise Unavailable(f"no scratch folder can be made in {data}: {error}; it must be the labeller's data folder") from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
