"""A subset that is at hand: its files, what they hold, and structures read from them."""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from distillery.errors import Unavailable
from distillery.generators.files.contents import Contents, Reader, RowRefused, describe_refused, index_file, key_of
from distillery.generators.files.graphs import GraphReader
from distillery.runtime.stopping import Stop, Stopped
from distillery.structures.structure import Structure
from services.benchmarks.archives import ensure_files
from services.benchmarks.catalogue import Subset
from services.benchmarks.matbench import MatBenchReader
from services.benchmarks.oc20 import OC20Reader
from services.benchmarks.settings import BenchmarkSettings

_log = logging.getLogger("distillery")


@dataclass(frozen=True, eq=False)
class File:
    """One file of a subset; `name` is its path below the benchmarks' folder."""

    subset: Subset
    name: str
    path: Path
    contents: Contents
    reader: Reader

    def read(self, rows: Sequence[int]) -> Iterator[Structure | RowRefused]:
        """What is in these rows, ascending, with what belongs in every origin.

        Unavailable if the file can't be read, or is another than when the service started.
        """
        try:
            if not np.array_equal(key_of(self.path, self.reader), self.contents.key):
                raise ValueError("it, or what belongs to it, has changed since the service started")
            found = self.reader.read(self.path, self.contents, [row for row in rows if not self.contents.refused[row]])
            for row in rows:
                yield self._mark(row, next(found)) if not self.contents.refused[row] else self._recall(row)
        except (ValueError, OSError, EOFError) as error:
            raise _unreadable(self.path, error) from error

    def _mark(self, row: int, found: Structure | RowRefused) -> Structure | RowRefused:
        if isinstance(found, RowRefused):
            _log.warning("row %d of %s is refused, %s", row, self.path, found)
            return found
        mark = {"benchmark": self.subset.name, "licence": self.subset.licence, "file": self.name, "row": row}
        return replace(found, origin={**mark, **found.origin})

    def _recall(self, row: int) -> RowRefused:
        return RowRefused(str(self.contents.refused[row]), f"row {row} of {self.name}")


@dataclass(frozen=True, eq=False)
class Shelf:
    """A subset and its files."""

    subset: Subset
    files: tuple[File, ...]

    @property
    def n_structures(self) -> int:
        """In all files, without the rows that are refused."""
        return sum(int((file.contents.refused == "").sum()) for file in self.files)

    @property
    def version(self) -> str:
        """How many structures there are, how many rows are refused, and a digest of names and contents of the files."""
        digest = hashlib.sha256("".join(f"{file.name}\0{file.contents.sha256}\n" for file in self.files).encode())
        refused = Counter(reason for file in self.files for reason in file.contents.refused.tolist() if reason)
        left_out = "".join(f", {n} {reason}" for reason, n in sorted(refused.items()))
        return f"{self.n_structures} structures{left_out}, sha256 {digest.hexdigest()}"


def open_shelf(subset: Subset, settings: BenchmarkSettings, stop: Stop) -> Shelf:
    """Find, or fetch, and index the files of a subset; Unavailable names what is missing or unreadable."""
    reader = _make_reader(subset)
    files = []
    for path in ensure_files(subset, settings, stop):
        if stop.is_set():
            raise Stopped
        try:
            contents = index_file(path, reader)
        except (ValueError, OSError, EOFError) as error:
            raise _unreadable(path, error) from error
        if refused := describe_refused(contents):
            _log.warning("of the %d rows of %s are left out: %s", len(contents.at), path, refused)
        files.append(File(subset, path.relative_to(settings.folder).as_posix(), path, contents, reader))
    return Shelf(subset, tuple(files))


def _make_reader(subset: Subset) -> Reader:
    readers: Mapping[str, Reader] = {"oc20": OC20Reader(), "oc22": GraphReader(), "matbench": MatBenchReader(subset.unit)}
    return readers[subset.format]


def _unreadable(path: Path, error: Exception) -> Unavailable:
    return Unavailable(f"{path} can't be used: {error}. Replace it or move it away, then start the service again")
