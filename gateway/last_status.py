"""The last status of a dataset, kept in its folder by whoever makes it or reads it: others tell it without reading anything else."""

from contextlib import suppress

from pydantic import ValidationError

from distillery.dataset.folder import LAST_STATUS
from distillery.runtime.atomic_files import write_text_whole
from distillery.runtime.small_files import read_small
from distillery.schema.dataset import InWork, State, Status
from distillery.schema.problem import Answer
from gateway.stored_dataset import StoredDataset

Seen = tuple[int, list[tuple[int, int] | None]]


class LastStatus(Answer):
    """What was told, and of what: while nobody makes the dataset it holds for as many parts and the same files.

    seen  the number of parts, then times and sizes of recipe, target, report and folder of the parts
    """

    seen: Seen
    status: Status


def look_at(dataset: StoredDataset) -> Seen:
    """What a status is of; to be looked at before it is made."""
    return len(dataset.list_parts()), list(dataset.read_file_state())


def write_last_status(dataset: StoredDataset, seen: Seen, status: Status) -> None:
    """Keep a status; nothing is kept of a dataset that is there no more."""
    if dataset.exists:
        with suppress(OSError):  # a full disk: who looks finds an old one, and reads recipe, report or parts
            write_text_whole(dataset.folder / LAST_STATUS, LastStatus(seen=seen, status=status).model_dump_json())


def read_last_status(dataset: StoredDataset) -> Status | None:
    """The status of a dataset that another process makes, or that none does; None where its recipe, report or parts must be read."""
    try:
        last = LastStatus.model_validate_json(read_small(dataset.folder / LAST_STATUS))
    except (OSError, ValidationError):
        return None
    if last.status.name != dataset.name:  # of a folder that was copied or renamed
        return None
    is_made, is_finished = dataset.is_locked, last.status.state == "finished"
    if is_made and is_finished:  # it is being taken up again
        return None
    if not is_made and last.seen != look_at(dataset):
        return None
    if is_finished:
        return last.status.model_copy(update={"started": None})
    status = last.status.model_copy(update={"state": _find_state(dataset, last.status, is_made), "started": None})
    return status if is_made else _at_rest(status)


def _find_state(dataset: StoredDataset, status: Status, is_made: bool) -> State:
    wanted = dataset.read_target().wanted
    if is_made or wanted != "running":
        return wanted
    return "stopped" if status.problem is None else "failed"


def _at_rest(status: Status) -> Status:
    """Without what was the case at that moment alone."""
    sources = {name: row.model_copy(update={"in_work": InWork()}) for name, row in status.sources.items()}
    return status.model_copy(update={"doing": "", "at_work": [], "retries": [], "sources": sources})
