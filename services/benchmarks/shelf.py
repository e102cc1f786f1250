"""A subset that is at hand: its files, what they hold, and structures read from them."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from distillery.errors import Unavailable
from distillery.runtime.stopping import Stop, Stopped
from distillery.structures.structure import Structure
from services.benchmarks.archives import ensure_files
from services.benchmarks.catalogue import Subset
from services.benchmarks.contents import Contents, Reader, index_file
from services.benchmarks.matbench import MatBenchReader
from services.benchmarks.oc20 import OC20Reader
from services.benchmarks.oc22 import OC22Reader
from services.benchmarks.settings import BenchmarkSettings


@dataclass(frozen=True, eq=False)
class File:
    """One file of a subset; `name` is its path below the benchmarks' folder."""

    subset: Subset
    name: str
    path: Path
    contents: Contents
    reader: Reader

    def read(self, rows: Sequence[int]) -> Iterator[Structure]:
        """The structures in these rows, ascending, with what belongs in every origin; Unavailable if the file can't be read."""
        try:
            for row, structure in zip(rows, self.reader.read(self.path, self.contents, rows), strict=True):
                mark = {"benchmark": self.subset.name, "licence": self.subset.licence, "file": self.name, "row": row}
                yield replace(structure, origin={**mark, **structure.origin})
        except (ValueError, OSError) as error:
            raise _unreadable(self.path, error) from error


@dataclass(frozen=True, eq=False)
class Shelf:
    """A subset and its files."""

    subset: Subset
    files: tuple[File, ...]

    @property
    def n_structures(self) -> int:
        """In all files."""
        return sum(len(file.contents.at) for file in self.files)

    @property
    def version(self) -> str:
        """How many structures there are, and a digest of names and contents of the files."""
        digest = hashlib.sha256("".join(f"{file.name}\0{file.contents.sha256}\n" for file in self.files).encode())
        return f"{self.n_structures} structures, sha256 {digest.hexdigest()}"


def open_shelf(subset: Subset, settings: BenchmarkSettings, stop: Stop) -> Shelf:
    """Find, or fetch, and index the files of a subset; Unavailable names what is missing or unreadable."""
    reader = _make_reader(subset)
    files = []
    for path in ensure_files(subset, settings, stop):
        if stop.is_set():
            raise Stopped
        try:
            contents = index_file(path, reader)
        except (ValueError, OSError) as error:
            raise _unreadable(path, error) from error
        files.append(File(subset, path.relative_to(settings.folder).as_posix(), path, contents, reader))
    return Shelf(subset, tuple(files))


def _make_reader(subset: Subset) -> Reader:
    readers: Mapping[str, Reader] = {"oc20": OC20Reader(), "oc22": OC22Reader(), "matbench": MatBenchReader(subset.unit)}
    return readers[subset.format]


def _unreadable(path: Path, error: Exception) -> Unavailable:
    return Unavailable(f"{path} can't be used: {error}. Replace it or move it away, then start the service again")
