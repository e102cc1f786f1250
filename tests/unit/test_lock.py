"""The lock of a dataset's folder: one process at work, any number that look."""

import asyncio
import fcntl
import json
import threading
import time
from pathlib import Path

import pytest

from distillery.errors import Conflict
from distillery.runtime.atomic_files import write_text_whole
from distillery.runtime.locks import OWNER, hold_lock, is_locked, watch_owner


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


def write_owner(folder: Path, host: str, beat: int) -> None:
    write_text_whole(folder / OWNER, json.dumps({"host": host, "process": 7, "beat": beat}))  # as those that beat do


def test_one_at_work_on_another_host_is_known_by_its_beats_and_a_dead_one_by_its_silence(tmp_path: Path) -> None:
    """As where flock ends at the host: nobody holds it here."""

    async def main() -> None:
        write_owner(tmp_path, "elsewhere", 0)
        await watch_owner(tmp_path, 0.01)
        watching = asyncio.ensure_future(watch_owner(tmp_path, 0.1))
        await asyncio.sleep(0)
        for beat in range(1, 100):
            if watching.done():
                break
            write_owner(tmp_path, "elsewhere", beat)
            await asyncio.sleep(0.02)
        with pytest.raises(Conflict, match="elsewhere is at work"):
            await watching

    asyncio.run(main())


def test_who_holds_the_lock_says_so_while_it_does(tmp_path: Path) -> None:
    with hold_lock(tmp_path, 0.01):
        beats = set()
        while len(beats) < 3:
            if (tmp_path / OWNER).exists():
                beats.add(json.loads((tmp_path / OWNER).read_text())["beat"])
        asyncio.run(asyncio.wait_for(watch_owner(tmp_path, 60), 5))  # of this host flock tells at once
    assert not (tmp_path / OWNER).exists()
