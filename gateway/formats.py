"""Structures and labels as clients ask for them: Arrow, JSON or extended XYZ."""

import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from starlette.datastructures import Headers

from distillery.errors import InvalidRequest, TooLarge
from distillery.generators.files.units import find_wrong_unit
from distillery.http.choices import choose_type
from distillery.runtime.canonical_json import canonical_json
from distillery.runtime.limits import LARGEST_STRUCTURE_JSON
from distillery.schema.generate import StructureList, StructureRecord
from distillery.schema.label import LabelledBatch
from distillery.structures.arrow import ARROW_TYPE, ArrowStream, from_arrow, to_json
from distillery.structures.electrons import read_state
from distillery.structures.structure import Structure, System, from_ase, to_ase

JSON_TYPE, EXTXYZ_TYPE = "application/json", "chemical/x-extxyz"
Format = Literal["arrow", "json", "extxyz"]
MEDIA_TYPES: Mapping[Format, str] = {"arrow": ARROW_TYPE, "json": JSON_TYPE, "extxyz": EXTXYZ_TYPE}
_PAIR = re.compile(r"""(?<!\S)([^\s=]++)\s*+=\s*+("(?:[^"\\]|\\.)*+"|'[^']*+'|[^\s"']\S*+)""")
"""A key of a comment line of extended XYZ and its value; possessive, so that no line takes long."""
_FORMATS: Mapping[str, Format] = {media_type: format for format, media_type in MEDIA_TYPES.items()}


class StructureWriter(Protocol):
    """Writes structures piece by piece."""

    def write(self, structures: Sequence[Structure]) -> bytes:
        """The next bytes."""

    def end(self, totals: Mapping[str, Any]) -> bytes:
        """The last bytes; `totals` is what is known only then."""


class ArrowWriter:
    """An Arrow IPC stream; what is known at the end has no place in it."""

    def __init__(self, head: Mapping[str, Any]) -> None:
        self._stream = ArrowStream(head)

    def write(self, structures: Sequence[Structure]) -> bytes:
        """See `StructureWriter`."""
        return self._stream.write(structures)

    def end(self, totals: Mapping[str, Any]) -> bytes:
        """See `StructureWriter`."""
        return self._stream.end()


class JsonWriter:
    """One JSON object: the head's keys, `structures`, and the totals' keys."""

    def __init__(self, head: Mapping[str, Any]) -> None:
        self._before = json.dumps(head)[:-1] + ', "structures": ['

    def write(self, structures: Sequence[Structure]) -> bytes:
        """See `StructureWriter`."""
        rows = [json.dumps(row) for row in to_json(structures)["structures"]]
        if not rows:
            return b""
        text, self._before = self._before + ",\n".join(rows), ",\n"
        return text.encode()

    def end(self, totals: Mapping[str, Any]) -> bytes:
        """See `StructureWriter`."""
        before = "" if self._before == ",\n" else self._before
        return f"{before}], {json.dumps(totals)[1:]}".encode()


class ExtxyzWriter:
    """Extended XYZ as ASE reads it, with id, system and origin (JSON) of every structure."""

    def write(self, structures: Sequence[Structure]) -> bytes:
        """See `StructureWriter`."""
        return write_extxyz(map(_describe_atoms, structures))

    def end(self, totals: Mapping[str, Any]) -> bytes:
        """See `StructureWriter`."""
        return b""


def open_writer(format: Format, head: Mapping[str, Any]) -> StructureWriter:
    """A writer of this format; `head` is told first, where the format has a place for it."""
    if format == "extxyz":
        return ExtxyzWriter()
    return ArrowWriter(head) if format == "arrow" else JsonWriter(head)


def choose_format(headers: Headers, offered: Sequence[Format]) -> Format:
    """The one of these formats that the header Accept wants most; the first where it says nothing, or any. InvalidRequest: none of them."""
    return _FORMATS[choose_type(headers, [MEDIA_TYPES[format] for format in offered])]


def read_structures(body: bytes | bytearray, content_type: str) -> list[Structure]:
    """Structures from a body of one of the three media types; InvalidRequest if they are none, TooLarge of too much JSON."""
    format = _FORMATS.get(content_type.split(";")[0].strip().lower())
    if format is None:
        raise InvalidRequest(f"structures come as {', '.join(MEDIA_TYPES.values())}; got {content_type or 'no Content-Type'}")
    if format == "json" and len(body) > LARGEST_STRUCTURE_JSON:
        raise TooLarge(f"structures as JSON have at most {LARGEST_STRUCTURE_JSON} bytes, these have {len(body)}; send {ARROW_TYPE}")
    if format == "arrow":
        structures = from_arrow(body)[0]
    else:
        structures = _read_json(body) if format == "json" else _read_extxyz(body)
    for k, structure in enumerate(structures):
        if not structure.id.isprintable() or not structure.id:
            raise InvalidRequest(f"structure {k}: an id is printable text in one line, got {structure.id[:100]!r}")
    return structures


def write_labelled(structures: Iterable[Structure], found: LabelledBatch) -> bytes:
    """Structures with their labels as extended XYZ, without those that were refused."""
    labels = {label.id: label for label in found.labels}
    labelled = list[Atoms]()
    for structure in structures:
        if (label := labels.get(structure.id)) is not None:
            atoms = _describe_atoms(structure)
            results = {"energy": label.energy, "forces": label.forces} | ({} if label.stress is None else {"stress": label.stress})
            atoms.calc = SinglePointCalculator(atoms, **results)
            labelled.append(atoms)
    return write_extxyz(labelled)


def write_extxyz(frames: Iterable[Atoms]) -> bytes:
    """Extended XYZ of ASE atoms, labels of their calculators included."""
    from ase.io.extxyz import write_extxyz as write

    text = io.StringIO()
    for atoms in frames:
        write(text, [atoms])
    return text.getvalue().encode()


def _describe_atoms(structure: Structure) -> Atoms:
    atoms = to_ase(structure)
    atoms.info["id"] = structure.id.replace("\\", "\\\\")
    atoms.info["origin"] = canonical_json(dict(structure.origin)).replace("\\", "\\\\")  # as in distillery.export.extxyz
    return atoms


def _read_json(body: bytes | bytearray) -> list[Structure]:
    from pydantic import ValidationError

    from distillery.http.error_responses import describe_faults

    try:
        return [_read_record(record) for record in StructureList.model_validate_json(bytes(body)).structures]
    except ValidationError as error:
        raise InvalidRequest(describe_faults(error.errors())) from error
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(f"a structure can't be read: {error}") from error


def _read_record(record: StructureRecord) -> Structure:
    atoms = Atoms(numbers=record.numbers, positions=record.positions, cell=record.cell, pbc=record.pbc)
    state = {"charge": record.charge, "multiplicity": record.multiplicity}
    return from_ase(atoms, id=record.id, system=record.system, origin=record.origin, **state)


def _read_extxyz(body: bytes | bytearray) -> list[Structure]:
    from distillery.generators.files.extxyz import parse_extended
    from distillery.generators.files.frames import read_frames

    structures = list[Structure]()
    for k, frame in enumerate(read_frames(io.BytesIO(body))):
        try:
            if frame.fault is not None:
                raise ValueError(frame.fault)
            atoms = parse_extended(b"".join(frame.lines).decode())
            if isinstance(atoms.info.get("id"), bool | int | float | np.generic):
                atoms.info["id"] = _find_text(frame.lines[1].decode(), "id")
            structures.append(_name_frame(atoms, k))
        except Exception as error:  # ASE's reader fails in many ways
            raise InvalidRequest(f"the body is not extended XYZ: frame {k}: {type(error).__name__}: {str(error)[:400]}") from error
    return structures


def _find_text(comment: str, key: str) -> str:
    """What a comment line says under a key, as it stands there: ASE makes 1 of 0001, and True of T."""
    said: dict[str, str] = dict(_PAIR.findall(comment))
    return said[key].strip("\"'")


def _name_frame(atoms: Atoms, k: int) -> Structure:
    """A frame as a structure, with the id, origin, charge and spin of its comment line.

    Without them it has its number as id, and is neutral and of the lowest spin.
    """
    if (fault := find_wrong_unit(atoms.info)) is not None:
        raise ValueError(fault)
    default: System = "crystal" if any(atoms.pbc) else "molecule"
    charge, multiplicity = read_state(atoms.info)
    id, system = str(atoms.info.get("id", f"structure/{k:04d}")), atoms.info.get("system", default)
    origin = _read_origin(atoms.info.get("origin", {}))
    return from_ase(atoms, id=id, system=system, origin=origin, charge=charge, multiplicity=multiplicity)


def _read_origin(told: Any) -> Mapping[str, Any]:
    """A JSON object, as `_describe_atoms` writes it; what others mean by the word is kept as what is known of a file's row is."""
    try:
        found = json.loads(told) if isinstance(told, str) else told
    except ValueError:
        found = None
    return found if isinstance(found, Mapping) else {"info": {"origin": told}}
