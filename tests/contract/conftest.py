"""What services need from outside before they can be asked."""

from collections.abc import Iterator

import pytest

from tests.benchmark_files import write_benchmarks
from tests.input_files import write_inputs
from tests.optimade_server import serve_optimade
from tests.upstream import MODELS


@pytest.fixture(scope="module", autouse=True)
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A small folder of benchmarks and an OPTIMADE server for the services of these names, and the small checkpoints for the models."""
    folder, cache, inputs = (tmp_path_factory.mktemp(name) for name in ("benchmarks", "optimade", "inputs"))
    write_benchmarks(folder)
    write_inputs(inputs)
    with pytest.MonkeyPatch.context() as patch, serve_optimade(cache) as url:
        patch.setenv("DISTILLERY_OPTIMADE_URL", url)
        patch.setenv("DISTILLERY_OPTIMADE_FOLDER", str(cache))
        patch.setenv("DISTILLERY_BENCHMARKS_FOLDER", str(folder))
        patch.setenv("DISTILLERY_SERVICE_INPUTS", str(inputs))
        for name in MODELS:
            patch.setenv(f"DISTILLERY_{name.upper()}_CHECKPOINT", "small")
        yield
