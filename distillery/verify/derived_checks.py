"""Verification of a dataset.h5 that was made of others: whether it holds what it says, piece by piece."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from distillery.dataset.derivation import PIECES, TEACHER, Derivation, Piece, place_pieces, read_derivation
from distillery.dataset.element_energies import FITTED, ISOLATED
from distillery.dataset.layout import LAYOUT_VERSION, choose_columns, describe_units, iterate_texts
from distillery.dataset.sections import Range
from distillery.runtime.workers import Each
from distillery.schema.label import TeacherCard
from distillery.structures.identity import digest_structures
from distillery.verify.file_checks import Check, attempt, check_fitted_energies
from distillery.verify.inspection import Progress, inspect_all
from distillery.verify.structure_checks import Expected

_NEEDED = ("teacher_version", "versions", ISOLATED, FITTED)


class DerivedVerification:
    """One such file, whose layout and splits are right."""

    def __init__(self, file: h5py.File, path: Path, progress: Progress) -> None:
        self._file, self._path, self._progress = file, path, progress
        self._derivation: Derivation | None = None
        self._pieces: list[tuple[Piece, Range, Range]] = []

    def run(self, each: Each) -> Iterator[Check]:
        """Every check as soon as it is made."""
        for check in (self._check_derivation, self._check_pieces):
            yield (found := check())
            if not found.passed:
                yield Check("rest", False, f"not checked: {found.name} must be right first")
                return
        yield self._check_metadata()
        yield from (checks := inspect_all(self._file, self._path, [self._expect(*piece) for piece in self._pieces], each, self._progress))
        if all(check.passed for check in checks):
            yield check_fitted_energies(self._file)
        yield Check("gates", None, "not judged: `distillery report` says what a file that was made of others can be judged by")

    def _check_derivation(self) -> Check:
        def find() -> Iterator[str]:
            self._derivation = own = read_derivation(self._file)
            assert own is not None
            n, n_taken = len(self._file["labels/energy"]), sum(one.n_taken for one in own.inputs)
            if n_taken != n:
                yield f"it says that {n_taken} structures were taken, there are {n}"
            n_given = sum(one.n_structures for one in own.inputs)
            if n_given - n_taken != sum(own.left_out.values()):
                yield f"of {n_given} structures {n_taken} were taken and {sum(own.left_out.values())} left out"

        return attempt("derivation", self._describe, find)

    def _describe(self) -> str:
        assert self._derivation is not None
        names = ", ".join(f"{one.n_taken:,} of {one.n_structures:,} of {one.argument}" for one in self._derivation.inputs)
        return f"{self._derivation.command}: {names}"

    def _check_pieces(self) -> Check:
        def find() -> Iterator[str]:
            self._pieces = list(place_pieces(self._file))
            yield from ()

        return attempt("pieces", lambda: f"{len(self._file[PIECES]):,} pieces, which account for every structure", find)

    def _check_metadata(self) -> Check:
        return attempt("metadata", lambda: "every attribute follows from the content", self._find_wrong_metadata)

    def _find_wrong_metadata(self) -> Iterator[str]:
        file, derivation = self._file, self._derivation
        assert derivation is not None
        found: dict[str, Any] = dict(file["metadata"].attrs)
        ids, hashes = (iterate_texts(file, f"provenance/{name}") for name in ("id", "structure_hash"))
        wanted: dict[str, Any] = {
            "num_structures": len(file["labels/energy"]),
            "total_atoms": len(file["structures/atomic_numbers"]),
            "units": describe_units(choose_columns(file)),
            "layout_version": LAYOUT_VERSION,
            "structures_sha256": digest_structures(ids, hashes),
        }
        if TEACHER in found:
            card = TeacherCard.model_validate_json(found[TEACHER])
            wanted |= {"teacher_model": card.name, "weights_sha256": card.weights_sha256}
        for name, value in wanted.items():
            if found.get(name) != value:
                yield f"{name} is {found.get(name)}, by the content it is {value}"
        yield from (f"{name} is missing" for name in _NEEDED if name not in found)

    def _expect(self, piece: Piece, structures: Range, atoms: Range) -> Expected:
        assert self._derivation is not None
        return Expected(
            part=piece.shard,
            structures=structures,
            atom_rows=atoms,
            source=piece.source,
            service=piece.service,
            system=piece.system,
            elements=self._derivation.elements,
            atoms=None,
            content_sha256=piece.content_sha256,
            optional_columns=piece.optional_columns,
        )
