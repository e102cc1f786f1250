"""SMILES without a chemistry package: where a line ends, and how many atoms there are, to tell whether hydrogens were forgotten."""

import re
from collections import Counter
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"(?P<bracket>\[[^\]]*\])|(?P<atom>Cl|Br|[BCNOPSFI]|[bcnops])|(?P<ring>%\(\d+\)|%\d\d|\d)|(?P<bond>[-=#$:/\\~])|(?P<other>[().])"
)
_BRACKET = re.compile(
    r"\[(?:\d+)?(?P<symbol>[A-Z][a-z]?|[a-z][a-z]?)(?:@@?(?:(?:TH|AL|SP|TB|OH)\d+)?)?(?P<hydrogens>H\d*)?(?:[-+]+\d*)?(?::\d+)?\]"
)
_ORDERS = {"=": 2, "#": 3, "$": 4}
_VALENCES = {"B": (3,), "C": (4,), "N": (3, 5), "O": (2,), "P": (3, 5), "S": (2, 4, 6), "F": (1,), "Cl": (1,), "Br": (1,), "I": (1,)}
LINE_END = re.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029\0]")
"""What some programs take for a line's end: within a SMILES, or its name, it hides another molecule."""


@dataclass
class _Atom:
    """An atom as it is read: hydrogens as written, None where the valence tells them; bonds in all."""

    symbol: str
    is_aromatic: bool
    written: int | None
    bonds: int = field(default=0)

    @property
    def n_hydrogens(self) -> int:
        if self.written is not None:
            return self.written
        if self.is_aromatic and self.symbol != "C":
            return 0  # [nH] and its like are written out
        taken = self.bonds + self.is_aromatic
        return next((valence - taken for valence in _VALENCES[self.symbol] if valence >= taken), 0)


def count_atoms(smiles: str) -> Counter[str] | None:
    """Atoms by element, hydrogens included; None if this is not a SMILES that is understood here (OpenSMILES without `*`)."""
    reader, at = _Reader(), 0
    try:
        while at < len(smiles):
            token = _TOKEN.match(smiles, at)
            if token is None:
                return None
            getattr(reader, f"take_{token.lastgroup}")(token[0])
            at = token.end()
    except _NotUnderstood:
        return None
    atoms = reader.atoms
    if reader.rings or reader.branches or not atoms:
        return None
    return Counter(atom.symbol for atom in atoms) + Counter(H=sum(atom.n_hydrogens for atom in atoms))


class _NotUnderstood(Exception):
    """The text is no SMILES, or more than is needed here."""


class _Reader:
    """The atoms so far, the rings and branches that are open, and the bond that was written last."""

    def __init__(self) -> None:
        self.atoms: list[_Atom] = []
        self.rings: dict[str, tuple[_Atom, int]] = {}
        self.branches: list[_Atom | None] = []
        self._last: _Atom | None = None
        self._order = 0

    def take_bond(self, text: str) -> None:
        self._order = _ORDERS.get(text, 1)

    def take_atom(self, text: str) -> None:
        self._add(_Atom(text.capitalize(), text.islower(), None))

    def take_bracket(self, text: str) -> None:
        found = _BRACKET.fullmatch(text)
        if found is None:
            raise _NotUnderstood
        hydrogens = found["hydrogens"] or ""
        self._add(_Atom(found["symbol"].capitalize(), found["symbol"].islower(), int(hydrogens[1:] or 1) if hydrogens else 0))

    def _add(self, atom: _Atom) -> None:
        _join(self._last, atom, self._order)
        self.atoms.append(atom)
        self._last, self._order = atom, 0

    def take_ring(self, text: str) -> None:
        if self._last is None:
            raise _NotUnderstood
        number = text.strip("%()")
        if number in self.rings:
            other, order = self.rings.pop(number)
            _join(other, self._last, self._order or order)
        else:
            self.rings[number] = (self._last, self._order)
        self._order = 0

    def take_other(self, text: str) -> None:
        """Branches, and the dot between molecules."""
        if text == "(":
            self.branches.append(self._last)
        elif text == ".":
            self._last = None
        elif self.branches:
            self._last = self.branches.pop()
        else:
            raise _NotUnderstood


def _join(one: _Atom | None, other: _Atom, order: int) -> None:
    if one is not None:
        one.bonds += order or 1
        other.bonds += order or 1
