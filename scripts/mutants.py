"""Does a test fail when a line is wrong? `make mutants MODULE=distillery/planning/gates.py`

The module is changed in one place at a time (mutations.py), and one of its tests (mutants.toml) must fail. Survivors are printed with file,
line and change. A mutant is tried in a fork of a process that has imported all but the project, on the tests that run the changed line.
"""

import argparse
import ast
import importlib
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
import tomllib
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
from mutations import find_changes

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # one core is enough for a mutant
os.environ["NUMBA_DISABLE_JIT"] = "1"  # what is compiled here, for all, is of no use to a test that wants it plain
ROOT = Path(__file__).parents[1]
QUIET = ("-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--assert=plain", "--hypothesis-seed=0")


class Mutant(SourceFileLoader):
    """Imports the module as its tree says."""

    def __init__(self, path: Path, tree: ast.Module) -> None:
        super().__init__(".".join(path.relative_to(ROOT).with_suffix("").parts), str(path))
        self.tree = tree

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, fullname: str) -> CodeType:
        return compile(ast.fix_missing_locations(self.tree), self.path, "exec")


class Tracer:
    """A pytest plugin: the lines of the module that each test runs, and its seconds; a wider fixture's count for its whole file."""

    def __init__(self, path: Path) -> None:
        self.path, self.key = str(path), ""
        self.lines: dict[str, set[int]] = {}
        self.seconds: dict[str, float] = {}

    def trace(self, frame: FrameType, event: str, argument: object) -> Any:
        if frame.f_code.co_filename != self.path:
            return None
        self.lines.setdefault(self.key, set()).add(frame.f_lineno)
        return self.trace

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.key, start = item.nodeid, time.monotonic()
        threading.settrace(self.trace)
        sys.settrace(self.trace)
        yield
        sys.settrace(None)
        self.seconds[item.nodeid] = time.monotonic() - start
        return True  # type: ignore[return-value]

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[Any]:
        before, self.key = self.key, self.key if fixturedef.scope == "function" else self.key.split("::")[0]
        result = yield
        self.key = before
        return result

    def choose(self, lines: range) -> list[str]:
        """The tests that run one of these lines, fastest first; all of them where none does, as what runs on import."""
        hit = {key for key, own in self.lines.items() if own & set(lines)}
        chosen = [name for name in self.seconds if not hit or name in hit or name.split("::")[0] in hit]
        return sorted(chosen, key=lambda name: self.seconds[name])


def fork(call: Callable[[], int], limit: float) -> int:
    """The exit code of a call in a child process of its own group and folder, output dropped; that of a kill after `limit` s."""
    with tempfile.TemporaryDirectory() as folder:
        if (child := os.fork()) == 0:
            os.setpgid(0, 0)
            os.environ |= {"HYPOTHESIS_STORAGE_DIRECTORY": folder, "PYTEST_DEBUG_TEMPROOT": folder, "TMPDIR": folder}
            tempfile.tempdir = folder
            null = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(null, stream)
            try:
                os._exit(call())
            finally:
                os._exit(99)
        end, code = time.monotonic() + limit, 0
        while not (done := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < end:
            time.sleep(0.02)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        code = (done if done[0] else os.waitpid(child, 0))[1]
        return os.waitstatus_to_exitcode(code)


def watch_tests(path: Path, tests: list[str], limit: float) -> Tracer:
    """Run the tests on the module as it is, and import here what that imported from outside the project. SystemExit if one fails."""
    tracer = Tracer(path)
    with tempfile.NamedTemporaryFile("r") as file:

        def run() -> int:
            code = int(pytest.main([*QUIET, *tests], plugins=[tracer]))
            modules = [name for name, one in sys.modules.items() if "site-packages" in (getattr(one, "__file__", None) or "")]
            Path(file.name).write_text(json.dumps([{k: sorted(v) for k, v in tracer.lines.items()}, tracer.seconds, modules]))
            return code

        if (code := fork(run, limit)) != 0:
            sys.exit(f"the tests must pass on the module as it is; exit code {code} of pytest {' '.join(tests)}")
        lines, tracer.seconds, modules = json.load(file)
    tracer.lines = {key: set(own) for key, own in lines.items()}
    with warnings.catch_warnings(action="ignore"):
        for name in modules:
            with suppress(Exception):
                importlib.import_module(name)
    return tracer


def survives(path: Path, tree: ast.Module, tests: list[str], limit: float) -> bool:
    """Whether all tests pass with the module as this tree says."""

    def run() -> int:
        sys.meta_path.insert(0, Mutant(path, tree))
        return int(pytest.main([*QUIET, *tests]))

    return fork(run, limit) == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("module", type=Path)
    parser.add_argument("--most", type=int, default=200, help="of more mutants, so many are drawn")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds that the tests may take on the module as it is")
    parser.add_argument("--lines", help="only these, as in 40-60")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    path = ROOT / arguments.module
    tests = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())[str(arguments.module)]
    tracer = watch_tests(path, tests, arguments.limit)
    tree = ast.parse(path.read_text())
    if not survives(path, tree, list(tracer.seconds), arguments.limit):
        sys.exit("the tests must pass in a fork too, where nothing is changed")
    changes = list(find_changes(tree))
    if arguments.lines:
        first, last = map(int, arguments.lines.split("-"))
        changes = [change for change in changes if first <= change.line <= last]
    tried = sorted(random.Random(0).sample(range(len(changes)), min(arguments.most, len(changes))))
    print(f"{len(tracer.seconds)} tests take {sum(tracer.seconds.values()):.0f} s; {len(tried)} of {len(changes)} mutants", flush=True)
    n_survivors = 0
    for change in (changes[k] for k in tried):
        chosen = tracer.choose(change.lines)
        before = getattr(change.node, change.field)
        setattr(change.node, change.field, change.value)
        if survives(path, tree, chosen, 20 + 4 * sum(tracer.seconds[name] for name in chosen)):
            n_survivors += 1
            print(f"{arguments.module}:{change.line}: {change.words}", flush=True)
        setattr(change.node, change.field, before)
    print(f"{arguments.module}: {len(tried)} mutants, {len(tried) - n_survivors} killed, {n_survivors} survived")
    sys.exit(n_survivors > 0.05 * len(tried))


if __name__ == "__main__":
    main()
