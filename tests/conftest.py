"""The quickstart, run once by the command a user types, for all tests."""

import pytest

from tests.command import Finished, make_quickstart


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The finished quickstart; tests leave it as it is."""
    return make_quickstart(tmp_path_factory)
