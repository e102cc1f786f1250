"""Fixtures of the container tests."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli import embedded_client
from tests.containers.engine import read_config, require_engine, require_image
from tests.containers.project import Identity, Project, read_identity, running


@pytest.fixture(scope="session")
def engine() -> None:
    """A container engine with Compose."""
    require_engine()


@pytest.fixture(scope="session")
def images(engine: None) -> dict[str, str]:
    """The images by service, all of them built."""
    found = {name: service["image"] for name, service in read_config("compose.yaml")["services"].items()}
    for image in found.values():
        require_image(image)
    return found
