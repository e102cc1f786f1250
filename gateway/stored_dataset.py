"""The files in the folder of a dataset, read and written whole; everything else is derived from them."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from distillery.dataset.folder import (
    CARD,
    CHECKPOINTS,
    CROISSANT,
    DATASET,
    LAST_STATUS,
    PAGE,
    PARTS,
    RECIPE,
    REPORT,
    TARGET,
    list_parts,
    refuse_foreign,
)
from distillery.errors import Conflict, NotFound, Unavailable
from distillery.recipe.reading import read_recipe, read_recipe_text
from distillery.recipe.recipe import Recipe
from distillery.recipe.target import Target, Wanted, read_target
from distillery.report.files import find_finished, forget_report
from distillery.runtime.atomic_files import write_text_whole
from distillery.runtime.locks import LOCK, OWNER, is_locked
from distillery.runtime.visible_text import is_utf8
from distillery.schema.dataset import FileEntry
from distillery.schema.report import Report

GRAVE = ".deleted-"
"""What the names of folders begin with that are being removed."""
FileState = tuple[tuple[int, int] | None, ...]


class StoredDataset:
    """One dataset's folder, which need not be there yet."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, folder.name

    @property
    def exists(self) -> bool:
        """True once there is a recipe."""
        return (self.folder / RECIPE).is_file()

    @property
    def is_begun(self) -> bool:
        """True if something is made already."""
        return bool(list_parts(self.folder)) or (self.folder / DATASET).exists()

    @property
    def has_page(self) -> bool:
        """True if there is a report.html."""
        return (self.folder / PAGE).is_file()

    @property
    def is_locked(self) -> bool:
        """True while a process, perhaps another one, makes it."""
        return is_locked(self.folder)

    def read_text(self) -> str:
        """The recipe as it was handed in; InvalidRequest if the file was spoilt."""
        return read_recipe_text(self.folder / RECIPE)

    def read_recipe(self) -> Recipe:
        """The recipe; InvalidRequest if the file was spoilt."""
        return read_recipe(self.folder / RECIPE)[0]

    def read_target(self) -> Target:
        """How far it is wanted."""
        return read_target(self.folder)

    def load(self) -> tuple[Recipe, str, Target]:
        """Recipe, its text and how far it is wanted; Conflict if the folder has another name than the dataset."""
        recipe = self.read_recipe()
        self.refuse_renamed(recipe)
        return recipe, self.read_text(), self.read_target()

    def list_parts(self) -> list[str]:
        """The names of all finished parts."""
        return list_parts(self.folder)

    def find_report(self, recipe: Recipe) -> Report | None:
        """The report if the dataset is made as far as is wanted."""
        return find_finished(self.folder, recipe, self.read_target().last)

    def list_files(self) -> list[FileEntry]:
        """The files that may be read, by their path in the folder."""
        return [FileEntry(path=path, bytes=file.stat().st_size) for path, file in self._find_files()]

    def find_file(self, path: str) -> Path:
        """One of these files; NotFound if there is none of this path."""
        for known, file in self._find_files():
            if known == path:
                return file
        raise NotFound(f"dataset {self.name!r} has no file {path!r}; GET /v1/datasets/{self.name}/files lists them")

    def _find_files(self) -> Iterator[tuple[str, Path]]:
        own = (self.folder / file for file in (RECIPE, REPORT, PAGE, CARD, CROISSANT, CHECKPOINTS, DATASET))
        for path in (*own, *sorted((self.folder / PARTS).glob("[!.]*.h5"))):
            if is_utf8(path) and path.is_file():
                yield str(path.relative_to(self.folder)), path

    def read_file_state(self) -> FileState:
        """Changes with everything that the status of a dataset at rest depends on: file times and sizes, nothing is read."""
        return tuple(_find_times(self.folder / name) for name in (RECIPE, TARGET, REPORT, PAGE, PARTS))

    def save(self, text: str, target: Target) -> None:
        """Write target and recipe; Conflict if something else lies where a dataset would begin. The recipe comes last: with it the
        dataset is there, and a restart must then find how far it is to go.

        The report comes off first where it is on another text, with other gates perhaps, or on another stage: a restart takes up
        what has none.
        """
        refuse_foreign(self.folder)
        is_another = not self.exists or self.read_text() != text
        if is_another or self.read_target().last != target.last:
            forget_report(self.folder)
        self._write(TARGET, target.as_text())
        if is_another:
            self._write(RECIPE, text)

    def set_wanted(self, wanted: Wanted) -> None:
        """Write whether it is to run, pause or stop, and leave how far."""
        self._write(TARGET, self.read_target().model_copy(update={"wanted": wanted}).as_text())

    def delete(self) -> None:
        """Remove the folder; out of sight first, so that nothing half removed is ever seen. Unavailable if that fails."""
        grave = self.folder.with_name(f"{GRAVE}{self.name}-{secrets.token_hex(4)}")
        try:
            self.folder.rename(grave)
            shutil.rmtree(grave)
        except OSError as error:
            raise Unavailable(f"can't delete {self.folder}: {error}; correct that, then remove the folder") from error

    def withdraw(self) -> None:
        """Remove recipe and target of a dataset of which nothing was made, and the folder unless other files are in it."""
        for name in (RECIPE, TARGET, LAST_STATUS, OWNER, LOCK):
            (self.folder / name).unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()

    def refuse_other_process(self) -> None:
        """Conflict if a process makes the dataset; for one that does not make it itself."""
        if self.is_locked:
            raise Conflict(f"another process is making {self.name!r} in {self.folder}; wait for it, or stop it there")

    def refuse_change(self, own: Recipe, recipe: Recipe, target: Target) -> None:
        """Conflict if the dataset, which is being made from `own`, is wanted otherwise: by other gates, or to another end."""
        if own != recipe:
            raise Conflict(f"{self.name!r} is being made with other gates; hand this recipe in when that has ended, or cancel it first")
        known = self.read_target()
        if known.last != target.last or known.stage != target.stage:
            raise Conflict(
                f"{self.name!r} is being made to the end of stage {known.last}; ask again when that has ended, or cancel it first"
            )

    def refuse_growth_at_work(self, recipe: Recipe) -> None:
        """Conflict if the recipe asks for something else than the one that the dataset is being made from."""
        own = self.read_recipe()
        if not (recipe.is_same_as(own) or recipe.sha256 == own.sha256):
            raise Conflict(
                f"{self.name!r} is being made from another recipe ({own.sha256[:12]}, not {recipe.sha256[:12]}); hand this one in when "
                "that has ended, or cancel it first: what is there stays"
            )

    def refuse_renamed(self, recipe: Recipe) -> None:
        """Conflict if the folder has not the name that its recipe gives the dataset."""
        if recipe.name != self.name:
            raise Conflict(f"{self.folder} holds the recipe of {recipe.name!r}; name the folder so, or move it out of {self.folder.parent}")

    def describe(self, recipe: Recipe, started: float | None) -> dict[str, Any]:
        """What a status says by the recipe and by what is wanted."""
        return {
            "name": self.name,
            "stages": list(recipe.stage_names),
            "until": self.read_target().last,
            "started": started,
            "recipe_sha256": recipe.sha256,
            "teacher": recipe.teacher,
        }

    def _write(self, file: str, text: str) -> None:
        """Write a small file whole or not at all."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text_whole(self.folder / file, text)
        except OSError as error:
            raise Unavailable(f"can't write {self.folder / file}: {error}; make the data folder writable and free some space") from error


def _find_times(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
