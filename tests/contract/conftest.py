"""What services need from outside before they can be asked."""

from collections.abc import Iterator

import pytest

from tests.benchmark_files import write_benchmarks


@pytest.fixture(scope="session", autouse=True)
def benchmarks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A small folder of benchmarks, for the service of that name."""
    folder = tmp_path_factory.mktemp("benchmarks")
    write_benchmarks(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILLERY_BENCHMARKS_FOLDER", str(folder))
        yield
