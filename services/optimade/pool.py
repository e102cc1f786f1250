"""The pool: what a provider answered, in a file that is sealed by its sha256, sorted by id."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distillery.errors import Unavailable
from distillery.generators.proposals import Rejected
from distillery.runtime.atomic_files import write_text_whole
from distillery.runtime.locks import hold_alone
from distillery.runtime.stopping import Stop
from distillery.structures.structure import Structure, numbers_of
from services.optimade.client import Provider, write_filter
from services.optimade.entries import parse_entry
from services.optimade.settings import OptimadeSettings


@dataclass(frozen=True, eq=False)
class Pool:
    """Crystals of one provider.

    structures  by id; `origin` has provider, id, formula, licence
    refused     entries that gave none, by reason
    licence     of the data as a whole
    sha256      of all that the file says of the structures
    """

    structures: tuple[Structure, ...]
    refused: dict[str, int]
    licence: str
    sha256: str

    @property
    def version(self) -> str:
        """How many there are, what was refused, and the digest."""
        refused = "".join(f", {count} {reason}" for reason, count in sorted(self.refused.items()))
        return f"{len(self.structures)} structures{refused}, sha256 {self.sha256}"


def find_path(settings: OptimadeSettings) -> Path:
    """The file of what these settings ask for."""
    asked = [settings.url, write_filter(settings), settings.max_sites, settings.max_entries]
    return settings.folder / f"pool-{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]}.json"


def ensure_pool(settings: OptimadeSettings, stop: Stop) -> Path:
    """The pool's file, fetched if it is not there; Unavailable says what to set, or why it can't be had. Replicas take turns."""
    if settings.url is None:
        raise Unavailable(
            "no OPTIMADE provider is named: set DISTILLERY_OPTIMADE_URL to its base URL (services/optimade/README.md has some)"
        )
    path = find_path(settings)
    if path.is_file():
        return path
    if not settings.download:
        raise Unavailable(
            f"{path.absolute()} is not there and DISTILLERY_OPTIMADE_DOWNLOAD is off: put it there, or allow to ask {settings.url}"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with hold_alone(path, stop):
            if not path.is_file():
                write_text_whole(path, _fetch(settings, stop))
    except OSError as error:
        raise Unavailable(f"{path.absolute()} can't be written: {error}") from error
    return path


def _fetch(settings: OptimadeSettings, stop: Stop) -> str:
    structures: dict[str, Structure] = {}
    refused: Counter[str] = Counter()
    with Provider(settings, stop) as provider:
        licence = settings.licence or provider.read_licence()
        for entry in provider.read_entries():
            try:
                structure = parse_entry(entry, settings.elements, settings.max_sites)
            except Rejected as rejected:
                refused[rejected.reason] += 1
            else:
                structures[structure.origin["id"]] = structure
    if not structures:
        raise Unavailable(f"{settings.url} has no ordered crystal for {write_filter(settings)}; refused: {dict(refused) or 'none'}")
    asked = {"url": settings.url, "filter": write_filter(settings), "licence": licence, "refused": dict(sorted(refused.items()))}
    body = {**asked, "structures": [_write(structures[id]) for id in sorted(structures)]}
    return json.dumps({"sha256": _digest(body), **body}, ensure_ascii=False, separators=(",", ":"))


def _write(structure: Structure) -> dict[str, Any]:
    return {
        "origin": dict(structure.origin),
        "symbols": structure.symbols,
        "cell": structure.cell.tolist(),
        "positions": structure.positions.tolist(),
    }


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()).hexdigest()


def read_pool(path: Path) -> Pool:
    """The pool in a file; Unavailable if it is damaged."""
    try:
        content = json.loads(path.read_text("utf-8"))
        sha256 = content.pop("sha256")
        if sha256 != _digest(content):
            raise ValueError("its sha256 is another than that of its content")
        common = {"method": "optimade", "provider": content["url"], "licence": content["licence"]}
        structures = tuple(_read(entry, common) for entry in content["structures"])
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise Unavailable(f"{path.absolute()} can't be used: {error}. Remove it to have it fetched again") from error
    return Pool(structures, content["refused"], content["licence"], sha256)


def _read(entry: dict[str, Any], common: dict[str, str]) -> Structure:
    cell, positions = (np.array(entry[key], dtype=np.float64) for key in ("cell", "positions"))
    return Structure("", numbers_of(entry["symbols"]), positions, cell, (True, True, True), "crystal", {**common, **entry["origin"]})


def find_fitting(structures: Sequence[Structure], elements: frozenset[str], min_atoms: int, max_atoms: int) -> tuple[Structure, ...]:
    """Those of these elements alone, some number of whose cells has so many atoms."""
    return tuple(s for s in structures if set(s.symbols) <= elements and max_atoms // len(s) * len(s) >= min_atoms)
