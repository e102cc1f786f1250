"""Pages asked for over HTTP: one is made at a time, and all who ask for it meanwhile get the same."""

import asyncio
from pathlib import Path

from distillery.dataset.folder import PAGE, REPORT
from distillery.report.page.subprocess import make_page_aside


class PageJobs:
    """The pages in the making, by the folder of their dataset."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._making: dict[Path, asyncio.Task[bytes]] = {}

    async def read(self, folder: Path) -> bytes:
        """The page made at a dataset's end, or one of the parts there are now."""
        if folder not in self._making:
            self._making[folder] = task = asyncio.create_task(self._find(folder), name=f"page of {folder}")
            task.add_done_callback(lambda _: self._making.pop(folder))
        return await asyncio.shield(self._making[folder])  # one who leaves takes it from nobody

    async def close(self) -> None:
        """Abandon what is being made."""
        tasks = list(self._making.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _find(self, folder: Path) -> bytes:
        async with self._turn:
            if (folder / REPORT).is_file() and (folder / PAGE).is_file():
                return await asyncio.to_thread((folder / PAGE).read_bytes)
            return await make_page_aside(folder)
