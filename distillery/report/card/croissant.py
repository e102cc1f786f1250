"""croissant.json: a dataset in MLCommons' Croissant format 1.0, JSON-LD that dataset searches and mlcroissant read."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distillery.report.card.facts import CardFacts
from distillery.report.card.usage import UNITS, cite_dataset

_SCHEMA, _CROISSANT, _TERMS = "https://schema.org/", "http://mlcommons.org/croissant/", "http://purl.org/dc/terms/"
_OF_FILES = (
    "citeAs",
    "column",
    "data",
    "dataType",
    "equivalentProperty",
    "examples",
    "extract",
    "field",
    "fileProperty",
    "fileObject",
    "fileSet",
    "format",
)
_OF_RECORDS = ("includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex", "repeated")
_OF_CHANGES = ("replace", "samplingRate", "separator", "source", "subField", "transform")
_TYPED = {"data": "@json", "dataType": "@vocab", "examples": "@json"}
_BLOCK = 1 << 20


def write_croissant(facts: CardFacts, files: Sequence[Mapping[str, Any]], records: Sequence[Mapping[str, Any]] = ()) -> str:
    """The text of croissant.json.

    files    entries of `distribution`, as `describe_files` gives them
    records  entries of `recordSet`: HDF5 can't be described there, Parquet can
    """
    content = {
        "@context": _write_context(),
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": facts.name,
        "description": _describe(facts),
        "license": list_licences(facts),
        "citeAs": cite_dataset(facts),
        "creator": {"@type": "sc:Organization", "name": "made with Distillery"},
        "datePublished": str(facts.metadata.get("creation_time", "1970-01-01"))[:10],
        "keywords": ["machine-learned interatomic potential", "distillation", *facts.share],
        "version": "1.0.0",
        "distribution": list(files),
        "recordSet": list(records),
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _write_context() -> dict[str, Any]:
    terms = {name: f"cr:{name}" for name in (*_OF_FILES, *_OF_RECORDS, *_OF_CHANGES)}
    typed = {name: {"@id": f"cr:{name}", "@type": kind} for name, kind in _TYPED.items()}
    prefixes = {"sc": _SCHEMA, "cr": _CROISSANT, "dct": _TERMS, "rai": f"{_CROISSANT}RAI/", "conformsTo": "dct:conformsTo"}
    return {"@language": "en", "@vocab": _SCHEMA, **terms, **typed, **prefixes}


def _describe(facts: CardFacts) -> str:
    teacher = f" by {facts.teacher.name}" if facts.teacher else ""
    verdict = f" Verdict: {facts.report.verdict}." if facts.report else ""
    sources = ", ".join(f"{source.n_structures} {source.name}" for source in facts.sources)
    return f"{facts.n_structures} structures ({sources}) with energies, forces and stresses{teacher}; {UNITS}.{verdict}"


def list_licences(facts: CardFacts) -> list[str]:
    """What the teacher, the services and structures of their own declare, each once; "not recorded" if none does."""
    declared = [facts.teacher.licence] if facts.teacher else []
    declared += [maker.licence for source in facts.sources for maker in source.makers.values()]
    declared += [licence for source in facts.sources for licence in source.licences]
    return list(dict.fromkeys(licence for licence in declared if licence)) or ["not recorded"]


def describe_files(*paths: Path, folder: Path | None = None, media_type: str = "application/x-hdf5") -> list[dict[str, Any]]:
    """An entry of `distribution` for each file, with its size and sha256; named from `folder`, its own if absent."""
    return [_describe_file(path, path.relative_to(folder or path.parent).as_posix(), media_type) for path in paths]


def _describe_file(path: Path, name: str, media_type: str) -> dict[str, Any]:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while content := file.read(_BLOCK):
            digest.update(content)
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": media_type,
        "sha256": digest.hexdigest(),
    }
