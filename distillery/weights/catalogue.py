"""The catalogue of weights: sets of a service's weights.yaml, found or fetched, known by their sha256."""

import hashlib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from pydantic import Field, StrictStr, model_validator

from distillery.errors import InvalidRequest, Unavailable
from distillery.runtime.stopping import Stop
from distillery.runtime.yaml import NotYaml, read_lines
from distillery.schema.base import Message, Name
from distillery.schema.explain import suggest, validate_message
from distillery.weights.checksums import find_foreign_content, sha256_of
from distillery.weights.fetch import Fetch, FileSource, ensure_file
from distillery.weights.http_download import ReportBytes, log_progress

CATALOGUE = "weights.yaml"
SMALL = "small"
_SUFFIXES = {".ckpt", ".pt", ".pth", ".safetensors", ".yaml", ".yml"}


class WeightsSet(Message):
    """One checkpoint."""

    note: StrictStr = ""
    files: dict[Name, FileSource] = Field(min_length=1, description="where each file comes from, by the name it has here")


class Catalogue(Message):
    """What weights.yaml says: the checkpoints of one service."""

    licence: StrictStr
    source: StrictStr = Field(description="who publishes them: a page to read")
    note: StrictStr = ""
    sets: dict[Name, WeightsSet] = Field({}, description="files of each checkpoint; none if it must be named by the user")

    @model_validator(mode="after")
    def _refuse_small(self) -> "Catalogue":
        if SMALL in self.sets:
            raise ValueError(f"no set may be called {SMALL}: that is the service's own checkpoint")
        return self


@dataclass(frozen=True)
class CheckpointFiles:
    """Files that are there.

    name      of the set, file or folder, or the URL without user, password and query
    files     by name: that of weights.yaml, or the file's own
    sha256    of the file; of several, of their sorted `<sha256>  <name>` lines
    is_small  the service's own checkpoint, for trying and testing
    """

    name: str
    files: dict[str, Path]
    sha256: str
    is_small: bool = False

    def find(self, suffixes: Collection[str]) -> list[Path]:
        """Its files that end so, sorted; a single file however it is called, for a URL (…/model.ckpt/content) may end in anything."""
        if len(self.files) == 1:
            return list(self.files.values())
        return [path for _, path in sorted(self.files.items()) if path.suffix in suffixes]


def read_weights_file(service_folder: Path) -> Catalogue:
    """A service's weights.yaml; InvalidRequest says what is wrong with it."""
    path = service_folder / CATALOGUE
    try:
        content, _ = read_lines(path.read_text(encoding="utf-8"))
    except NotYaml as error:
        raise InvalidRequest(f"{path} is not YAML: {error}") from error
    return validate_message(Catalogue, content, str(path))


def read_catalogue(service_folder: Path) -> dict[str, WeightsSet]:
    """The sets of a service's weights.yaml by name."""
    return read_weights_file(service_folder).sets


def ensure_checkpoint(
    service_folder: Path,
    checkpoint: str,
    weights: Path,
    *,
    download: bool,
    stop: Stop | None = None,
    show: Callable[[str], ReportBytes] = log_progress,
) -> CheckpointFiles:
    """The files of `checkpoint`, fetched into <weights>/<service>/<set>/ where they are missing and may be downloaded.

    `checkpoint` is a set of the service's weights.yaml, `small` (the service's own in small/), a URL, or a file or folder: of a
    folder all files that end like weights or YAML, in it and in its checkpoints/. Unavailable says what is missing, from where, and how
    to place it by hand, or what is wrong with a file; Stopped soon after `stop` is set. `show` makes what is told of a download's
    progress, from the file's name.
    """
    service, fetch = service_folder.name, Fetch(download, stop, show)
    if checkpoint == SMALL:
        return _take_small(service_folder)
    catalogue = read_weights_file(service_folder)
    if checkpoint in catalogue.sets:
        files = catalogue.sets[checkpoint].files
        advice = f"or fetch the set ({', '.join(files)}) where there is a network: distillery weights pull {service}/{checkpoint}"
        return _ensure_files(checkpoint, files, weights / service / checkpoint, fetch, advice)
    if urlsplit(checkpoint).scheme in {"http", "https"}:
        source = FileSource(url=checkpoint)
        folder = weights / service / f"url-{hashlib.sha256(checkpoint.encode()).hexdigest()[:12]}"
        return _ensure_files(str(source), {_file_name(checkpoint): source}, folder, fetch, "or name a file of yours as checkpoint")
    return _take_given(checkpoint, catalogue, service)


def _ensure_files(name: str, sources: Mapping[str, FileSource], folder: Path, fetch: Fetch, advice: str) -> CheckpointFiles:
    digests = {file: ensure_file(source, folder / file, fetch, advice) for file, source in sources.items()}
    return CheckpointFiles(name, {file: folder / file for file in digests}, _join_digests(digests))


def _take_small(service_folder: Path) -> CheckpointFiles:
    folder = service_folder / SMALL
    files = _find_files(folder)
    if not files:
        raise Unavailable(
            f"the small checkpoint of {service_folder.name} should be in {folder}; it is part of the repository and of the image"
        )
    return CheckpointFiles(SMALL, files, _join_digests({name: sha256_of(path) for name, path in files.items()}), is_small=True)


def _take_given(checkpoint: str, catalogue: Catalogue, service: str) -> CheckpointFiles:
    path = Path(checkpoint).expanduser()
    is_name = checkpoint == path.name and path.suffix not in _SUFFIXES
    if not checkpoint or (is_name and not path.exists()):
        known = suggest(checkpoint, [*catalogue.sets, SMALL])
        raise Unavailable(f"{service} knows no checkpoint {checkpoint!r}{known}; a path or URL will do too. {catalogue.note}".rstrip())
    if not path.exists():
        raise Unavailable(f"there is no file or folder {path.absolute()}; a checkpoint of {service} should be there")
    files = {path.name: path} if path.is_file() else _find_files(path)
    if not files:
        raise Unavailable(f"{path} holds no file that ends in {', '.join(sorted(_SUFFIXES))}")
    for file in files.values():
        if (fault := find_foreign_content(file)) is not None:
            raise Unavailable(f"{file} is {fault}; put the real file there")
    return CheckpointFiles(path.name, files, _join_digests({name: sha256_of(file) for name, file in files.items()}))


def _find_files(folder: Path) -> dict[str, Path]:
    """Files in a folder, or in checkpoints/ of it, as trainers leave them, that are weights or their configuration, by name."""
    paths = [*sorted(folder.glob("checkpoints/*")), *sorted(folder.glob("*"))]
    return {path.name: path for path in paths if path.suffix in _SUFFIXES and path.is_file()}


def _file_name(url: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", PurePosixPath(urlsplit(url).path).name).lstrip("._-") or "checkpoint"


def _join_digests(digests: Mapping[str, str]) -> str:
    if len(digests) == 1:
        return next(iter(digests.values()))
    return hashlib.sha256("".join(f"{digests[name]}  {name}\n" for name in sorted(digests)).encode()).hexdigest()
