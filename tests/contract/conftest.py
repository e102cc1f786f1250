"""What services need from outside before they can be asked."""

from collections.abc import Iterator

import pytest

from tests.benchmark_files import write_benchmarks
from tests.upstream import MODELS


@pytest.fixture(scope="module", autouse=True)
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A small folder of benchmarks for the service of that name, and the small checkpoints for the models."""
    folder = tmp_path_factory.mktemp("benchmarks")
    write_benchmarks(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILLERY_BENCHMARKS_FOLDER", str(folder))
        for name in MODELS:
            patch.setenv(f"DISTILLERY_{name.upper()}_CHECKPOINT", "small")
        yield
