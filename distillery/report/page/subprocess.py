"""Making the page in a process of its own: minutes of arithmetic stay out of the gateway's process."""

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from distillery.dataset.folder import PAGE
from distillery.errors import Internal
from distillery.runtime.environment import read_environment


async def make_page_aside(folder: Path) -> bytes:
    """The page of the dataset in a folder as it is now; nothing is written there."""
    with tempfile.TemporaryDirectory() as scratch:
        await write_page_aside(folder, Path(scratch) / PAGE)
        return await asyncio.to_thread((Path(scratch) / PAGE).read_bytes)


async def write_page_aside(folder: Path, target: Path) -> dict[str, Any] | None:
    """Make the page of the dataset in a folder; the diversity that it shows, None if there are no structures.

    Internal with the last that the process said if it fails.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "distillery.report.page", str(folder), str(target)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**read_environment(), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,
    )
    try:
        diversity, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        lines = said.decode(errors="replace").strip().splitlines()
        last = lines[-1] if lines else f"it ended with {process.returncode}, perhaps out of memory"
        raise Internal(f"the page of {folder} can't be made: {last}; `distillery report {folder}` tries again and says more")
    found: dict[str, Any] | None = json.loads(diversity)
    return found
