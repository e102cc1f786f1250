"""The weights that there are and those that should be: catalogues, and the files of the weights folder."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from distillery.errors import InvalidRequest, NotFound
from distillery.generators.plugins import find_folder, list_services
from distillery.schema.explain import suggest
from distillery.weights.catalogue import CATALOGUE, Catalogue, read_weights_file
from distillery.weights.checksums import examine, read_record
from distillery.weights.fetch import FileSource

Verdict = Literal["missing", "partly there", "as published", "as recorded", "not recorded", "WRONG"]


def find_catalogues() -> dict[Path, Catalogue]:
    """What each weights.yaml says, by the folder it is in: the services', and the labeller's for the teachers."""
    labeller = find_spec("labeller")  # not imported: other commands, which load this module too, work where it is not installed
    folders = [find_folder(service) for service in list_services()]
    folders += [Path(labeller.origin).parent] if labeller is not None and labeller.origin is not None else []
    return {folder: read_weights_file(folder) for folder in folders if (folder / CATALOGUE).is_file()}


def describe_size(sources: Sequence[FileSource]) -> str:
    """`440 MiB`, `at least 440 MiB` or `unknown`."""
    known = [source.bytes for source in sources if source.bytes is not None]
    if not known:
        return "unknown"
    return ("" if len(known) == len(sources) else "at least ") + f"{sum(known) / 2**20:.1f} MiB"


def choose_sets(names: Sequence[str], everything: bool) -> Iterator[tuple[Path, str]]:
    """(folder of the service, set), in the order asked for; NotFound names the nearest."""
    catalogues = find_catalogues()
    by_service = {folder.name: folder for folder in catalogues}
    if everything == bool(names):
        raise InvalidRequest(f"name what to pull (SERVICE or SERVICE/SET), or give --all; there are {', '.join(by_service)}")
    if everything:
        yield from ((folder, one) for folder, catalogue in catalogues.items() for one in catalogue.sets)
    for name in names:
        service, _, wanted = name.partition("/")
        if service not in by_service:
            raise NotFound(f"no weights are known for {service!r}{suggest(service, by_service)}")
        catalogue = catalogues[by_service[service]]
        if wanted not in {"", *catalogue.sets} or not catalogue.sets:
            raise NotFound(f"{service} has no set {wanted!r}{suggest(wanted, catalogue.sets)}{catalogue.note and f' ({catalogue.note})'}")
        yield from ((by_service[service], one) for one in ([wanted] if wanted else catalogue.sets))


def find_present(folder: Path) -> Iterator[tuple[Path, FileSource | None]]:
    """Files that are there: those of the catalogues, then those that were recorded for other reasons (a user's URL)."""
    known = {
        folder / service.name / name / file: source
        for service, catalogue in find_catalogues().items()
        for name, files in catalogue.sets.items()
        for file, source in files.files.items()
    }
    yield from ((path, source) for path, source in known.items() if path.is_file())
    yield from (
        (path, None) for record in sorted(folder.rglob("*.sha256")) if (path := record.with_suffix("")) not in known and path.is_file()
    )


def judge(source: FileSource | None, path: Path) -> tuple[Verdict, str | None]:
    """What is to be said of a file, and what is wrong with it if something is."""
    if not path.is_file():
        return ("partly there" if any(path.parent.glob(f"{path.name}.*part*")) else "missing"), None
    published = None if source is None else source.sha256
    fault = examine(path, published)[1]
    if fault is not None:
        return "WRONG", fault
    if published is not None:
        return "as published", None
    return ("as recorded" if read_record(path) is not None else "not recorded"), None
