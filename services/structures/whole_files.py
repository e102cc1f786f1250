"""Files that are read as a whole by one function, with any number of structures."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from distillery.generators.files.contents import Contents, ForeignFile, Item, RowRefused
from distillery.structures.structure import Structure
from services.structures.conversion import describe_row, refuse
from services.structures.packed import read_text

_KEPT_FILES = 4096
Found = Structure | RowRefused


class WholeFileReader:
    """A `contents.Reader` of files that one function reads; what came of them last is kept."""

    def __init__(self, parse: Callable[[Any], Sequence[Found]], open_file: Callable[[Path], Any] = read_text) -> None:
        """`parse` makes rows of what `open_file` reads, a text or bytes; ForeignFile where it is of another program."""
        self._parse, self._open_file = parse, open_file

    def list_files(self, path: Path) -> Sequence[Path]:
        """The file alone."""
        return [path]

    def scan(self, path: Path) -> Iterator[Item]:
        """Every row."""
        for row, found in enumerate(self._read(path)):
            yield describe_row(row, found)

    def read(self, path: Path, contents: Contents, rows: Sequence[int]) -> Iterator[Found]:
        """The rows wanted."""
        found = self._read(path)
        for row in rows:
            yield found[row]

    def _read(self, path: Path) -> Sequence[Found]:
        stat = path.stat()
        return _read_file(self._parse, self._open_file, path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=_KEPT_FILES)
def _read_file(parse: Callable[[Any], Sequence[Found]], open_file: Callable[[Path], Any], path: Path, *stat: int) -> Sequence[Found]:
    content = open_file(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tables of symmetry that a file lacks, and of labels
        try:
            return parse(content)
        except ForeignFile:
            raise
        except Exception as error:  # ASE: whatever a damaged file leads to
            return [refuse(error)]
