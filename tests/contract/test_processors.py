"""numpy, OpenBLAS and the C library choose kernels by the processor; the structures of a request must not show which."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence

import pytest

from distillery.runtime.machine import describe_processor
from tests.contract.test_services import SERVICES
from tests.processors import MODERN, OLD
from tests.upstream import MODELS

Digests = dict[str, dict[str, str]]
OF_EVERY_KIND = [name for name in SERVICES if name not in MODELS]


def make(names: Sequence[str], processor: dict[str, str], *flags: str) -> Digests:
    """Digests of services' structures on a processor that looks so, by service and system."""
    environment = {**os.environ, **processor, "DISTILLERY_SERVICE_WORKERS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.processors", *names, *flags], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def modern() -> Digests:
    return make(OF_EVERY_KIND, MODERN)


@pytest.fixture(scope="module")
def old() -> Digests:
    return make(OF_EVERY_KIND, OLD)


@pytest.mark.parametrize("name", OF_EVERY_KIND)
def test_another_processor_gives_the_same_structures(modern: Digests, old: Digests, name: str) -> None:
    assert modern[name]
    assert modern[name] == old[name]


@pytest.mark.skipif(platform.machine() != "x86_64" or "fma" not in describe_processor().split(), reason="there is nothing to hide")
def test_without_pins_another_processor_gives_other_structures() -> None:
    """Else the test above could not fail."""
    assert make(["rdkit"], MODERN, "--without-pins") != make(["rdkit"], OLD, "--without-pins")
