"""A user's own SMILES: from a request, or from a file on the service's machine below the folder that it opens for input."""

import logging
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from rdkit import Chem, rdBase

from distillery.errors import InvalidRequest, Unsupported
from distillery.generators.inputs import InputSettings, find_input
from distillery.structures.smiles import LINE_END

MOST_LINES = 100_000
"""Longest list of SMILES that is read."""
_MOST_BYTES = 20_000_000
_MOST_FAULTS = 5
_EXTENSION = re.compile(r"\|[^|]*\|")
"""Of CXSMILES: radicals, groups of stereocentres, coordinates."""
_OPEN_EXTENSION = re.compile(r"\s\|[^|]*$")
_log = logging.getLogger("distillery")


@dataclass(frozen=True)
class GivenSmiles:
    """One SMILES as it was given: line (from 1), text with its CXSMILES extension (`|…|`), and the name that followed it."""

    line: int
    text: str
    name: str | None = None

    def parse(self) -> Chem.Mol:
        """The molecule without isotope labels, and what stereochemistry is left then; InvalidRequest names line, text and fault."""
        if _OPEN_EXTENSION.search(self.text):
            raise InvalidRequest(f"line {self.line}: {self.text!r} has a CXSMILES extension without its second |")
        with rdBase.BlockLogs():
            mol = Chem.MolFromSmiles(self.text)
            if mol is None or mol.GetNumAtoms() == 0:
                raise InvalidRequest(f"line {self.line}: {self.text!r} is not a SMILES RDKit can read: {_explain(self.text)}")
            if any(atom.HasQuery() for atom in mol.GetAtoms()) or any(group.GetProp("TYPE") != "DAT" for group in _groups_of(mol)):
                raise InvalidRequest(f"line {self.line}: {self.text!r} is not one molecule but a query or a polymer")
            mol.RemoveAllConformers()
            return _simplify(mol)


def _groups_of(mol: Chem.Mol) -> list[Any]:
    return list(Chem.GetMolSubstanceGroups(mol))


def _simplify(mol: Chem.Mol) -> Chem.Mol:
    """The molecule without what coordinates can't show: isotopes, and amine nitrogens as stereocentres, which invert."""
    for atom in mol.GetAtoms():
        atom.SetIsotope(0)
        if atom.GetAtomicNum() == 7 and atom.GetTotalDegree() == 3:
            atom.SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)
    plain = Chem.RemoveHs(mol)
    Chem.AssignStereochemistry(plain, cleanIt=True, force=True)
    return plain


def _explain(text: str) -> str:
    mol = Chem.MolFromSmiles(text, sanitize=False)
    if mol is None:
        return "syntax error"
    if mol.GetNumAtoms() == 0:
        return "no atoms"
    return "; ".join(problem.Message() for problem in Chem.DetectChemistryProblems(mol)) or "it cannot be sanitised"


@lru_cache(maxsize=4)
def list_smiles(texts: tuple[str, ...]) -> tuple[GivenSmiles, ...]:
    """The SMILES of a request; blank ones and comments (#) are left out, lines are counted from 1."""
    found = (_split(line, text.removeprefix("\ufeff")) for line, text in enumerate(texts, 1))
    return tuple(given for given in found if given is not None)


def _split(line: int, text: str) -> GivenSmiles | None:
    """SMILES, extension and name of a line; None for a blank one or a comment."""
    if odd := LINE_END.search(text.rstrip("\r\n")):
        raise InvalidRequest(
            f"line {line} holds the character U+{ord(odd[0]):04X}, which some programs take for a line's end; give one SMILES a line"
        )
    words = text.split(maxsplit=1)
    if not words or words[0].startswith("#"):
        return None
    rest = words[1].strip() if len(words) > 1 else ""
    extension = _EXTENSION.match(rest)
    if rest.startswith("|") and extension is None:
        return GivenSmiles(line, text.strip())
    smiles = words[0] if extension is None else f"{words[0]} {extension[0]}"
    name = rest if extension is None else rest[extension.end() :].strip()
    return GivenSmiles(line, smiles, name or None)


def read_smiles_file(name: str, settings: InputSettings) -> tuple[GivenSmiles, ...]:
    """The SMILES of a file: one a line, a name may follow; read again only once it has changed."""
    path = find_input(name, settings.inputs, "smiles_file", "or send the SMILES themselves as options.smiles")
    stat = path.stat()
    if stat.st_size > _MOST_BYTES:
        raise Unsupported(f"smiles_file {name!r} has {stat.st_size} bytes, at most {_MOST_BYTES}; split it")
    return _read(path, name, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4)
def _read(path: Path, name: str, mtime_ns: int, n_bytes: int) -> tuple[GivenSmiles, ...]:
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"smiles_file {name!r} cannot be read as UTF-8 text: {error}") from error
    if len(lines) > MOST_LINES:
        raise Unsupported(f"smiles_file {name!r} has {len(lines)} lines, at most {MOST_LINES}; split it")
    return list_smiles(tuple(lines))


@lru_cache(maxsize=4)
def refuse_bad_smiles(pool: tuple[GivenSmiles, ...], file: str | None) -> None:
    """InvalidRequest that names the first few SMILES that can't be read, and how many there are.

    Of a file these are left out and named in the log, as large collections hold some; it is refused where they are all that it holds.
    """
    if not pool:
        raise InvalidRequest("no SMILES given: smiles or smiles_file holds nothing but blank lines and comments")
    faults = [fault for given in pool if (fault := _find_fault(given)) is not None]
    if not faults:
        return
    more = f"; and {len(faults) - _MOST_FAULTS} more" if len(faults) > _MOST_FAULTS else ""
    told = "; ".join(faults[:_MOST_FAULTS]) + more
    if file is None or len(faults) == len(pool):
        raise InvalidRequest(told)
    _log.warning("%d of %d SMILES of %s are left out: %s", len(faults), len(pool), file, told)


def _find_fault(given: GivenSmiles) -> str | None:
    try:
        given.parse()
    except InvalidRequest as problem:
        return problem.detail
    return None
