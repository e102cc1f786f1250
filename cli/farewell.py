"""The last words of a run that was stopped, and its end."""

import os
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from cli.exit_codes import STOPPED
from cli.terminal import say
from distillery.dataset.folder import list_parts

if TYPE_CHECKING:
    from cli.live import LineView, LiveView
    from distillery.schema.dataset import Status


class Farewell:
    """The last words of a run that was stopped; said once, by whoever comes first."""

    def __init__(self, view: "LineView | LiveView", folder: Path, again: str, gateway: str | None) -> None:
        self._view, self._folder, self._again, self._gateway = view, folder, again, gateway
        self._speaking, self._is_said = threading.RLock(), False

    def say(self) -> None:
        """Say what is kept, and what goes on."""
        with self._speaking:
            if not self._is_said:
                say(f"\n{self._describe()}", sys.stderr)
            self._is_said = True

    def _describe(self) -> str:
        if self._gateway:
            return f"No longer watching: the gateway goes on with it. `{self._again} --gateway {self._gateway}` shows it again."
        return f"Stopped. {_describe_stop(self._folder, self._view.last)} `{self._again}` goes on."

    def end(self) -> NoReturn:
        """End the process, whatever is under way in it: parts are whole or not there, and workers end with it."""
        with suppress(Exception):
            self._view.__exit__()
            self.say()
        os._exit(STOPPED)


def _describe_stop(folder: Path, last: "Status | None") -> str:
    """What is kept of a dataset that was stopped, and what has to be made again."""
    kept, rows = len(list_parts(folder)), list(last.sources.values()) if last else []
    n_since = kept - sum(row.shards_done for row in rows)
    in_work = max(sum(row.in_work.generate + row.in_work.label for row in rows) - n_since, 0)
    shards = f"{kept} finished shard{'s are' if kept != 1 else ' is'} kept" if kept else "No shard was finished, so nothing is kept"
    return shards + (f"; {in_work} in the making {'are' if in_work != 1 else 'is'} made again." if in_work else ".")
