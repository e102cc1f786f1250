"""A frame of extended XYZ, read by ASE once its comment line makes sense: ASE believes whatever that says, or mistakes it."""

import io
import re

import ase.io
from ase import Atoms

_KEYS = {"lattice": "Lattice", "properties": "Properties"}
_MISSPELT = re.compile(r"(?<!\w)(lattice|properties)(?=\s*=)", re.IGNORECASE)
_PROPERTIES = re.compile(r"(?<!\w)Properties\s*=\s*[\"']?([^\s\"']*)")
_EMPTY = re.compile(r"(?<!\S)[^\s=\"']+=(?:\"\"|'')(?=\s|$)")
_TENSOR = re.compile(r"(?<!\w)(?:stress|virial)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|\[([^\]]*)\]|(\S+))")
_PBC = re.compile(r"(?<!\w)pbc\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|\[([^\]]*)\]|\{([^}]*)\}|(\S+))")
_TRUTHS = frozenset({"T", "F", "true", "false", "True", "False", "TRUE", "FALSE", "1", "0"})
_ELEMENTS = frozenset({"species", "symbols", "numbers", "Z"})


def parse_extended(text: str) -> Atoms:
    """The atoms of one frame; ValueError says what of its comment line makes no sense, other errors of ASE what of its atoms does not."""
    head, comment, rest = text.split("\n", 2)
    for word in _MISSPELT.findall(comment):
        if word != (wanted := _KEYS[word.lower()]):
            raise ValueError(f"its comment line has {word!r}, which is written {wanted}")
    if (named := _PROPERTIES.search(comment)) is not None:
        _require_columns(named.group(1), len(rest.split("\n", 1)[0].split()))
    if (found := _PBC.search(comment)) is not None:
        _require_truths(next(value for value in found.groups() if value is not None))
    comment = _TENSOR.sub(_keep_nine, _EMPTY.sub("", comment))
    atoms = ase.io.read(io.StringIO(f"{head}\n{comment}\n{rest}"), format="extxyz")
    assert isinstance(atoms, Atoms)
    if swallowed := [key for key, value in atoms.info.items() if isinstance(value, str) and _MISSPELT.search(value)]:
        raise ValueError(f"the text of {swallowed[0]} does not end before {_MISSPELT.findall(str(atoms.info[swallowed[0]]))[0]}")
    return atoms


def _keep_nine(tensor: re.Match[str]) -> str:
    """A tensor of nine numbers; of others ASE makes an error, and the structure is sound without them."""
    value = next(value for value in tensor.groups() if value is not None)
    return tensor.group() if len(value.replace(",", " ").split()) == 9 else ""


def _require_columns(properties: str, n_words: int) -> None:
    """Names, types and numbers of columns that a line of `n_words` words has, elements and positions among them."""
    words = properties.split(":")
    names, types, counts = words[::3], words[1::3], words[2::3]
    if len(words) % 3 or not all(kind in {"S", "R", "I", "L"} for kind in types) or not all(n.isdecimal() for n in counts):
        raise ValueError(f"Properties must be name:type:columns, again and again, with a type of S, R, I or L; got {properties[:80]!r}")
    widths = dict(zip(names, map(int, counts), strict=True))
    if widths.get("pos") != 3 or not _ELEMENTS & widths.keys():
        raise ValueError(f"Properties must have pos:R:3 and an element (species:S:1 or Z:I:1); got {properties[:80]!r}")
    if (n_columns := sum(map(int, counts))) > n_words:
        raise ValueError(f"Properties has {n_columns} columns, and the first atom's line {n_words}")


def _require_truths(pbc: str) -> None:
    words = pbc.replace(",", " ").split()
    if len(words) not in (1, 3) or not set(words) <= _TRUTHS:
        raise ValueError(f'pbc must be T or F along each of three vectors, as in pbc="T T F"; got {pbc[:40]!r}')
