"""StructuresGenerator: a user's own structures, each row of the files at most once, or as often as asked for."""

import logging
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray

from distillery.errors import Unsupported
from distillery.generators.files.contents import pack
from distillery.generators.files.finishing import Finished, finish_structure
from distillery.generators.files.pool import Pool, choose_places, draw_structures, gather_pool
from distillery.generators.generator import Made, Progress, Task
from distillery.generators.inputs import InputSettings
from distillery.generators.settings import ServiceSettings
from distillery.generators.supercell import expand_to
from distillery.generators.workers import Workers, submit
from distillery.runtime.machine import count_workers
from distillery.runtime.stopping import Stop
from distillery.runtime.versions import name_versions
from distillery.schema.base import Message
from distillery.schema.generate import Metadata, SystemCard
from distillery.structures.checks import SHORTEST_DISTANCE, Fault
from distillery.structures.structure import SYSTEMS, Structure, System
from services.structures.conversion import to_bits
from services.structures.options import FileOptions
from services.structures.shelf import FileRows, InputFile, open_files

ELEMENTS = tuple(chemical_symbols[1:104])
LARGEST = 10_000
"""Atoms."""
CHARGED = "charged"
"""Why rows are refused that have a charge, or more than the lowest spin, where they are not asked for."""
_log = logging.getLogger("distillery")


@dataclass(frozen=True, eq=False)
class Selection:
    """What a task's files hold for it.

    pool     the rows that can be taken
    refused  the other rows of this system, or of no system that could be told: why, by (file, reason)
    """

    pool: Pool
    refused: Mapping[tuple[str, str], NDArray[np.int64]]

    @property
    def counts(self) -> Counter[str]:
        """Refused rows by reason."""
        counts: Counter[str] = Counter()
        for (_, reason), rows in self.refused.items():
            counts[reason] += len(rows)
        return counts

    def name_refused(self) -> list[str]:
        """A line for each file and reason, with all rows."""
        return [f"{file}: {reason}: row {list_rows(rows)}" for (file, reason), rows in self.refused.items()]


class StructuresGenerator:
    """A `distillery.generators.generator.Generator` of all four systems."""

    def __init__(self, settings: InputSettings, workers: int = 1) -> None:
        """`distillery.runtime.machine.count_workers` says how many workers a machine carries."""
        self._settings = settings
        self._workers = Workers("structures", workers, __name__)

    @property
    def metadata(self) -> Metadata:
        return Metadata(
            service="structures",
            version="1.5",
            method="The user's own structures, each row of the files at most once, or as often as `copies` says",
            licence="the user's own; `origin` has it where it is told",
            systems=dict.fromkeys(SYSTEMS, _card()),
            n_max=1000,
            minimum_distance=SHORTEST_DISTANCE,
            versions=name_versions("ase", "h5py", "spglib"),
        )

    @property
    def options(self) -> Mapping[System, type[Message]]:
        return dict.fromkeys(SYSTEMS, FileOptions)

    def load(self) -> None:
        """Start the first worker; files are read when a request names them."""
        self._workers.load()

    def close(self) -> None:
        """End the workers."""
        self._workers.close()

    def check(self, task: Task) -> None:
        """InvalidRequest if a file can't be used, Unsupported if no row of the files fits."""
        selection = select_rows(task, open_files(_options_of(task), self._settings.inputs))
        if not len(selection.pool):
            rows = "; ".join(selection.name_refused()[:5])
            raise Unsupported(
                f"options.files: no row is a {task.system} of {task.min_atoms}-{task.max_atoms} atoms of {' '.join(task.elements)} only; "
                f"allow more elements or another size, or name another system. Refused: {rows or 'none, all are of other systems'}"
            )

    def generate(self, task: Task, stop: Stop, progress: Progress) -> Made:
        """See `Generator`: the task's slice of the pool; the first slice also counts, and names in the log, the rows that are none's."""
        return self._workers.run(lambda workers: self._generate(workers, task, stop, progress), task.shard)

    def _generate(self, workers: ProcessPoolExecutor, task: Task, stop: Stop, progress: Progress) -> Made:
        options = _options_of(task)
        files = open_files(options, self._settings.inputs)
        selection = select_rows(task, files)
        places = choose_places(task, len(selection.pool), options.copies)

        def begin(structure: Structure, attempt: int) -> Future[Finished]:
            return submit(workers, finish_structure, _sign(structure, options), task, attempt, enlarge)

        def tell(place: int, fault: Fault) -> None:
            row, name = int(selection.pool.rows[place]), files[int(selection.pool.which[place])].name
            refused.append(f"{name}: {fault.reason}: row {row}: {fault.detail}")

        refused = list[str]()
        made = draw_structures(selection.pool, places, task, begin, stop, progress, tell)
        if task.pool_slice is None or task.pool_slice.start == 0:
            made.attempts += selection.counts.total()
            made.rejected.update(selection.counts)
            refused = [*selection.name_refused(), *refused]
        for line in refused:
            _log.warning("left out of %s", line)
        made.named = refused
        return made


def _options_of(task: Task) -> FileOptions:
    assert isinstance(task.options, FileOptions)
    return task.options


def select_rows(task: Task, files: tuple[InputFile, ...]) -> Selection:
    """The rows of a task's system, of its elements and size; the others of that system are refused by name."""
    options, foreign = _options_of(task), ~pack([[atomic_numbers[element] for element in task.elements]])
    fitting, refused = [], dict[tuple[str, str], NDArray[np.int64]]()
    for file in files:
        contents, is_ours = file.contents, _find_own(file, task.system, options.sort)
        reasons = contents.refused.astype("<U24")
        reasons[(reasons == "") & contents.charged & (not options.charges)] = CHARGED
        fewest = 1 if options.repeat and task.system == "crystal" else task.min_atoms
        is_size = (contents.n_atoms >= fewest) & (contents.n_atoms <= task.max_atoms)
        reasons[(reasons == "") & (contents.elements & foreign).any(axis=1)] = "unknown_element"
        reasons[(reasons == "") & ~is_size] = "size"
        fitting.append(np.flatnonzero(is_ours & (reasons == "")))
        for reason in np.unique(reasons[is_ours & (reasons != "")]).tolist():
            refused[file.name, reason] = np.flatnonzero(is_ours & (reasons == reason))
    return Selection(gather_pool([FileRows(file, task.system) for file in files], fitting), refused)


def _find_own(file: InputFile, system: System, is_sorted: bool) -> NDArray[np.bool_]:
    """The rows that are this system's, and those that could not be read; shape (n_rows,)."""
    systems = file.guess() if is_sorted else file.contents.systems
    own: NDArray[np.bool_] = (systems & to_bits([system]) != 0) | (file.contents.refused != "")
    return own


def _sign(structure: Structure, options: FileOptions) -> Structure:
    """The structure with its licence, and with what it must share a side of a split with where that is not its composition."""
    origin = dict(structure.origin)
    if options.licence:
        origin["licence"] = options.licence
    if options.parents == "kept":
        parent = origin.get("info", {}).get("parent")
        origin |= {"kept_parent": parent} if isinstance(parent, str) else {}
    elif options.parents != "composition":
        origin["parent"] = f"{origin['file']} {origin['row']}" if options.parents == "row" else origin["file"]
    return Structure(**{**vars(structure), "origin": origin})


def enlarge(structure: Structure, task: Task, rng: np.random.Generator) -> Structure:
    """The structure as it is, or a small crystal repeated where the options say so."""
    if not _options_of(task).repeat or task.system != "crystal" or len(structure) >= task.min_atoms:
        return structure
    return expand_to(structure, task.min_atoms, task.max_atoms, rng)


def list_rows(rows: NDArray[np.int64]) -> str:
    """Rows in short, as in 0, 3-7, 9."""
    runs = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs if len(run))


def _card() -> SystemCard:
    return SystemCard(
        min_atoms=1,
        max_atoms=LARGEST,
        default_min_atoms=1,
        default_max_atoms=LARGEST,
        elements=ELEMENTS,
        options_schema=FileOptions.model_json_schema(),
    )


_MEMORY_PER_WORKER = 256 * 2**20
"""Bytes; a worker needs far less, the rest is for what is read of the files meanwhile."""


def build() -> StructuresGenerator:
    """The service's generator, set up from the environment."""
    return StructuresGenerator(InputSettings(), ServiceSettings().workers or count_workers(_MEMORY_PER_WORKER))
