"""What files hold, before anything is made of them: how many rows look like each system, their elements, what is refused."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray

from distillery.errors import InvalidRequest
from distillery.generators.files.contents import Contents, pack
from distillery.structures.structure import SYSTEMS, System
from services.structures.conversion import describe_row, to_bits
from services.structures.generator import CHARGED, list_rows
from services.structures.options import FileOptions
from services.structures.shelf import InputFile, digest_files, open_files

_TOLD_FILES = 5
"""That are named for each reason."""


@dataclass(frozen=True)
class Survey:
    """The rows of files that can be labelled.

    counts    rows that look like each system; systems without any are left out
    elements  that occur in them, by atomic number
    atoms     the smallest and largest number of atoms
    sha256    of all files together
    n_rows    that the files have
    refused   how many rows are left out by reason, most first
    told      of each reason a line for each of the first files: its rows, and what is wrong with the first
    has_charges  whether a row has a charge, or more than the lowest spin
    """

    counts: Mapping[System, int]
    elements: tuple[str, ...]
    atoms: tuple[int, int]
    sha256: str
    n_rows: int
    refused: Mapping[str, int]
    told: Mapping[str, tuple[str, ...]]
    has_charges: bool = False


def survey_files(
    names: tuple[str, ...], folder: Path, known: Collection[str] = (), *, charges: bool = False, periodic: bool = True
) -> Survey:
    """Look at files below a folder; rows with other elements than those `known` (any, if there are none) are refused, without `charges`
    those that have a charge or more than the lowest spin, and without `periodic` those that are.

    InvalidRequest if a file can't be used, or no row is left.
    """
    files = open_files(FileOptions(files=names), folder)
    reasons = [_find_reasons(file.contents, known, charges, periodic) for file in files]
    usable = [own == "" for own in reasons]
    refused = Counter(reason for own in reasons for reason in own.tolist() if reason)
    told = {reason: tuple(islice(_tell_refused(reason, files, reasons), _TOLD_FILES)) for reason, _ in refused.most_common()}
    if not any(own.any() for own in usable):
        lines = [line for own in told.values() for line in own]
        raise InvalidRequest(f"no row of the {len(files)} files can be labelled: {'; '.join(lines[:_TOLD_FILES])}")
    sizes = np.concatenate([file.contents.n_atoms[own] for file, own in zip(files, usable, strict=True)])
    return Survey(
        counts=_count_systems(files, usable),
        elements=_list_elements([file.contents.elements[own] for file, own in zip(files, usable, strict=True)]),
        atoms=(int(sizes.min()), int(sizes.max())),
        sha256=digest_files(files),
        n_rows=sum(map(len, reasons)),
        refused=dict(refused.most_common()),
        told=told,
        has_charges=any(bool(file.contents.charged[own].any()) for file, own in zip(files, usable, strict=True)),
    )


def _find_reasons(contents: Contents, known: Collection[str], charges: bool, periodic: bool) -> NDArray[np.str_]:
    """Why each row can't be labelled, "" where it can."""
    reasons = contents.refused.astype("<U24")
    if not periodic:
        reasons[(reasons == "") & (contents.systems & to_bits(["molecule", "cluster"]) == 0)] = "beyond_teacher"
    reasons[(reasons == "") & contents.charged & (not charges)] = CHARGED
    if known:
        foreign = ~pack([[atomic_numbers[element] for element in known]])
        reasons[(reasons == "") & (contents.elements & foreign).any(axis=1)] = "unknown_element"
    return reasons


def _tell_refused(reason: str, files: Sequence[InputFile], reasons: Sequence[NDArray[np.str_]]) -> Iterator[str]:
    for file, own in zip(files, reasons, strict=True):
        if len(rows := np.flatnonzero(own == reason)):
            yield f"{file.name}: {reason}: row {list_rows(rows)}{_explain(file, int(rows[0]))}"


def _explain(file: InputFile, row: int) -> str:
    """What is wrong with a row that is refused for itself, "" of others."""
    if not file.contents.refused[row]:
        return ""
    refusal = describe_row(0, next(file.read([row]))).refusal
    return "" if refusal is None else f" ({refusal.detail})"


def _count_systems(files: tuple[InputFile, ...], usable: Sequence[NDArray[np.bool_]]) -> dict[System, int]:
    guessed = [file.guess()[own] for file, own in zip(files, usable, strict=True)]
    counts = {system: sum(int((own & to_bits([system]) != 0).sum()) for own in guessed) for system in SYSTEMS}
    return {system: n for system, n in counts.items() if n}


def _list_elements(held: list[NDArray[np.uint8]]) -> tuple[str, ...]:
    present = np.unpackbits(np.bitwise_or.reduce(np.concatenate(held), axis=0))
    return tuple(chemical_symbols[int(z)] for z in np.flatnonzero(present))
