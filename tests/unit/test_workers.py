"""Workers compute in an environment of their own, which their parent has not."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os
from multiprocessing import forkserver
from distillery.generators.workers import Workers, submit
from distillery.runtime.environment import read_environment

def look(pool):
    return submit(pool, os.getenv, "GLIBC_TUNABLES").result()

if __name__ == "__main__":
    {before}
    own, workers = dict(os.environ), Workers("mine", 1, "distillery.errors")
    workers.load()
    print(workers.run(look, "a test"))
    workers.close()
    assert dict(os.environ) == read_environment() == own
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="others are not pinned")
@pytest.mark.parametrize("before", ["pass", "forkserver.ensure_running()"], ids=["alone", "beside another's fork server"])
def test_workers_are_pinned_and_their_parent_is_not(tmp_path: Path, before: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(before=before))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "GLIBC_TUNABLES": "glibc.malloc.arena_max=2"}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip().startswith("glibc.malloc.arena_max=2:glibc.cpu.hwcaps=-FMA,"), done.stderr
