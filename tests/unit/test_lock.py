"""The lock of a dataset's folder: one process at work, any number that look."""

import fcntl
import threading
import time
from pathlib import Path

import pytest

from distillery.errors import Conflict
from distillery.runtime.locks import hold_lock, is_locked


def test_one_at_work_keeps_others_out_and_is_seen(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    with hold_lock(tmp_path):
        assert is_locked(tmp_path)
        with pytest.raises(Conflict, match="another process"), hold_lock(tmp_path):
            pass
    assert not is_locked(tmp_path)
    with hold_lock(tmp_path):
        pass


def test_who_only_looks_disturbs_neither_those_at_work_nor_others_that_look(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    with (tmp_path / ".lock").open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        assert not is_locked(tmp_path)
        threading.Thread(target=lambda: (time.sleep(0.01), fcntl.flock(looking, fcntl.LOCK_UN))).start()
        with hold_lock(tmp_path):
            assert is_locked(tmp_path)
