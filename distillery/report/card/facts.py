"""What a card says, read from dataset.h5 alone; the verdict from the report beside it."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ase.data import chemical_symbols

from distillery.dataset.derivation import TEACHER, Derivation, is_derived, read_derivation, read_pieces
from distillery.dataset.folder import DATASET, name_dataset
from distillery.dataset.layout import iterate_texts, open_dataset
from distillery.dataset.makers import Maker, describe_maker
from distillery.dataset.provenance import MERGED_PARTS, find_versions, read_merged_parts
from distillery.report.files import read_report
from distillery.schema.label import TeacherCard
from distillery.schema.report import Report

_LICENCE = re.compile(r'"licence":\s*("(?:[^"\\]|\\.)+")')


@dataclass
class SourceFacts:
    """A source of a dataset, and who made its structures, by service; `licences` are those that structures have of their own."""

    name: str
    n_structures: int = 0
    systems: Counter[str] = field(default_factory=Counter)
    makers: dict[str, Maker] = field(default_factory=dict)
    licences: tuple[str, ...] = ()


@dataclass(frozen=True)
class CardFacts:
    """A dataset, for a person who has never seen it.

    n_stressed  structures whose stress has a meaning
    share       of atoms, by element, most first
    sizes       atoms of the smallest structure, of all on average, of the largest
    teacher     absent if the file does not say
    report      absent if there is none beside the file, or it is on another one
    derivation  how it came about if it was made of other datasets
    """

    name: str
    n_structures: int
    n_atoms: int
    n_stressed: int
    share: Mapping[str, float]
    sizes: tuple[int, float, int]
    sources: tuple[SourceFacts, ...]
    teacher: TeacherCard | None
    report: Report | None
    metadata: Mapping[str, Any]
    n_bytes: int
    derivation: Derivation | None = None

    @property
    def year(self) -> str:
        """In which it was made; "n.d." if the file does not say."""
        return str(self.metadata.get("creation_time", "n.d."))[:4]

    @property
    def versions(self) -> dict[str, str]:
        """Every version that made it, by what it is of."""
        return dict(json.loads(str(self.metadata.get("versions", "{}"))))


def read_facts(path: Path) -> CardFacts:
    """The facts of a dataset.h5; InvalidRequest if it is none."""
    with open_dataset(path) as file:
        splits = file["structures/atomic_numbers_splits"][:]
        sizes = np.diff(splits)
        metadata = dict(file["metadata"].attrs) if "metadata" in file else {}
        teacher, sources = _read_sources(file)
        return CardFacts(
            name=name_dataset(path),
            n_structures=len(sizes),
            n_atoms=int(splits[-1]),
            n_stressed=int(file["labels/stress_mask"][:].sum()),
            share=_count_elements(file),
            sizes=(int(sizes.min()), float(sizes.mean()), int(sizes.max())) if sizes.size else (0, 0.0, 0),
            sources=sources,
            teacher=teacher,
            report=_find_report(path, metadata),
            metadata=metadata,
            n_bytes=path.stat().st_size,
            derivation=read_derivation(file),
        )


def _count_elements(file: h5py.File) -> dict[str, float]:
    elements, counts = np.unique(file["structures/atomic_numbers"][:], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {chemical_symbols[elements[k]]: float(counts[k] / counts.sum()) for k in order}


def _read_sources(file: h5py.File) -> tuple[TeacherCard | None, tuple[SourceFacts, ...]]:
    """The teacher and all sources, in the order in which they come."""
    columns = (file[f"provenance/{name}"].asstr()[:].tolist() for name in ("source", "system"))
    sources: dict[str, SourceFacts] = {}
    for (name, system), n in Counter(zip(*columns, strict=True)).items():
        own = sources.setdefault(name, SourceFacts(name))
        own.n_structures += n
        own.systems[system] += n
    for name, licences in _find_licences(file).items():
        sources[name].licences = licences
    if is_derived(file):
        return _read_pieces(file, sources), tuple(sources.values())
    teacher = None
    for part in read_merged_parts(file) if MERGED_PARTS in file else ():
        record, teacher = part.receipt.record, teacher or part.receipt.teacher
        if record.source in sources and part.n_structures:
            maker = describe_maker(record.service, record.service_licence, find_versions(part.receipt))
            sources[record.source].makers.setdefault(record.service, maker)
    return teacher, tuple(sources.values())


def _find_licences(file: h5py.File) -> dict[str, tuple[str, ...]]:
    """By source the licences that `origin` tells of its structures, those of a dataset that they are from too."""
    found: dict[str, dict[str, None]] = {}
    for name, origin in zip(iterate_texts(file, "provenance/source"), iterate_texts(file, "provenance/origin"), strict=True):
        for licence in _LICENCE.findall(origin):
            found.setdefault(name, {})[json.loads(licence)] = None
    return {name: tuple(licences) for name, licences in found.items()}


def _read_pieces(file: h5py.File, sources: dict[str, SourceFacts]) -> TeacherCard | None:
    """Note the makers that a dataset made of others names; its teacher."""
    for piece in read_pieces(file):
        maker = describe_maker(piece.service, piece.licence, piece.versions)
        sources[piece.source].makers.setdefault(piece.service, maker)
    noted = file["metadata"].attrs.get(TEACHER)
    return None if noted is None else TeacherCard.model_validate_json(noted)


def _find_report(path: Path, metadata: Mapping[str, Any]) -> Report | None:
    report = read_report(path.parent) if path.name == DATASET else None
    return report if report is not None and report.structures_sha256 == metadata.get("structures_sha256") else None
