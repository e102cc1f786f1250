"""All datasets below the data folder."""

import re
import shutil
from pathlib import Path

from distillery.dataset.folder import RECIPE
from distillery.errors import NotFound
from distillery.recipe.recipe import Recipe
from distillery.report.ended import describe_end
from distillery.runtime.visible_text import is_utf8
from distillery.schema.base import NAME_PATTERN
from distillery.schema.dataset import Status
from gateway.last_status import look_at, read_last_status, write_last_status
from gateway.stored_dataset import GRAVE, FileState, StoredDataset


class Store:
    """All datasets below the data folder."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._finished: dict[str, tuple[FileState, Status]] = {}
        """What was told of finished datasets, as long as their files stay as they are."""

    def list_names(self) -> list[str]:
        """All datasets, sorted: folders with a recipe that is a file, whose names are UTF-8, as nobody can ask for others."""
        found = (path for path in self._data.glob(f"[!.]*/{RECIPE}") if is_utf8(path) and path.is_file())
        return sorted(path.parent.name for path in found)

    def finish_deleting(self) -> None:
        """Remove what a kill left of datasets that were being deleted."""
        for grave in self._data.glob(f"{GRAVE}*"):
            shutil.rmtree(grave, ignore_errors=True)

    def find(self, name: str) -> StoredDataset:
        """A dataset that is there; NotFound if there is none of this name."""
        is_usual = re.fullmatch(NAME_PATTERN, name) is not None  # others can only be folders that somebody renamed
        if self.locate(name).exists if is_usual else name in self.list_names():
            return self.locate(name)
        raise NotFound(f"there is no dataset {name!r}; GET /v1/datasets, or `distillery status`, lists those that there are")

    def locate(self, name: str) -> StoredDataset:
        """The place of a dataset, be it there or not; `name` is one that a recipe may have."""
        return StoredDataset(self._data / name)

    def tell_finished(self, dataset: StoredDataset, recipe: Recipe | None = None, started: float | None = None) -> Status | None:
        """The status of a finished dataset that nobody makes, None of another; nothing is read while its files stay as they are.

        recipe   its recipe, if it is known
        started  when this process began to make it, Unix time, s; None if it did not
        """
        state, known = dataset.read_file_state(), self._finished.get(dataset.name)
        if known is not None and known[0] == state:
            return known[1]
        self._finished.pop(dataset.name, None)
        status = read_last_status(dataset) if recipe is None else None
        if status is None:
            seen = look_at(dataset)
            status = self._describe_finished(dataset, recipe or dataset.read_recipe(), started)
            if status is not None and not dataset.is_locked:
                write_last_status(dataset, seen, status)
        if status is None or status.state != "finished":
            return None
        self._finished[dataset.name] = state, status
        return status

    def _describe_finished(self, dataset: StoredDataset, recipe: Recipe, started: float | None) -> Status | None:
        """The status of a finished dataset by its recipe and report."""
        if (report := dataset.find_report(recipe)) is None:
            return None
        return Status(
            **dict(describe_end(report, dataset.list_parts())),
            **dataset.describe(recipe, started),
            state="finished",
            verdict=report.verdict,
            has_page=dataset.has_page,
            reasons=report.reasons,
            failed_gates=report.failed_gates,
        )
