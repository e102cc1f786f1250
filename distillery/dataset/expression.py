"""A condition on structures in words of arithmetic, as in `n_atoms > 10 and energy_per_atom < -3`; read as a syntax tree, never run."""

import ast
import operator
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillery.errors import InvalidRequest

Values = Mapping[str, NDArray[Any]]
NAMES = {
    "n_atoms": "number of atoms",
    "energy": "eV",
    "energy_per_atom": "eV/atom",
    "residual": "energy less the fitted energies of its elements, eV/atom",
    "largest_force": "eV/Å",
    "pressure": "GPa, positive is compressed; without a stress no condition on it holds",
    "volume_per_atom": "Å³, of what is periodic; else no condition on it holds",
    "source": "text",
    "system": "text",
}
"""What a condition can name."""
_TEXTS = ("source", "system")
_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_COMPARISONS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_LONGEST = 1000
_HOW = f"a condition compares {', '.join(NAMES)} with numbers or texts, joined by and, or, not; as in 'n_atoms > 10 and residual < 0.5'"


class Condition:
    """One condition; InvalidRequest says what in it can't be used."""

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            if len(text) > _LONGEST:
                raise ValueError(f"it has {len(text)} characters, at most {_LONGEST}")
            self._tree = ast.parse(text.strip(), mode="eval").body
            self._check(self._tree, is_truth=True)
            if not self.names:
                raise ValueError("it asks nothing of a structure")
        except (SyntaxError, ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, SyntaxError) else error
            raise InvalidRequest(f"the condition {text!r} can't be used: {reason}; {_HOW}") from error

    @property
    def names(self) -> frozenset[str]:
        """What it asks of structures."""
        return frozenset(node.id for node in ast.walk(self._tree) if isinstance(node, ast.Name))

    def test(self, values: Values) -> NDArray[np.bool_]:
        """Where it holds, (n,); of what has no value (NaN) no comparison does."""
        with np.errstate(divide="ignore", invalid="ignore"):
            found: NDArray[np.bool_] = self._evaluate(self._tree, values)
        return found

    def _check(self, node: ast.expr, *, is_truth: bool) -> str:
        """The kind of a value (truth, number, text); ValueError if it is another than can stand here."""
        kind = self._find_kind(node)
        if (kind == "truth") is not is_truth:
            wanted = "a comparison" if is_truth else "a number or a text"
            raise ValueError(f"{ast.unparse(node)!r} stands where {wanted} is wanted")
        return kind

    def _find_kind(self, node: ast.expr) -> str:
        match node:
            case ast.BoolOp(values=parts):
                for part in parts:
                    self._check(part, is_truth=True)
                return "truth"
            case ast.UnaryOp(op=ast.Not(), operand=part):
                return self._check(part, is_truth=True)
            case ast.Compare(left=left, comparators=others, ops=ops) if all(type(op) in _COMPARISONS for op in ops):
                return self._check_comparison([left, *others], ops)
            case ast.UnaryOp(op=ast.USub(), operand=part):
                return self._require_number(part)
            case ast.BinOp(left=left, right=right, op=op) if type(op) in _ARITHMETIC:
                self._require_number(left)
                return self._require_number(right)
            case ast.Name(id=name) if name in NAMES:
                return "text" if name in _TEXTS else "number"
            case ast.Constant(value=str()):
                return "text"
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return "number"
        raise ValueError(f"{ast.unparse(node)!r} can't stand there")

    def _check_comparison(self, sides: list[ast.expr], ops: list[ast.cmpop]) -> str:
        kinds = {self._check(side, is_truth=False) for side in sides}
        if len(kinds) > 1:
            raise ValueError("a text is compared with a number")
        if kinds == {"text"} and not all(isinstance(op, ast.Eq | ast.NotEq) for op in ops):
            raise ValueError("texts are compared by == and != alone")
        return "truth"

    def _require_number(self, node: ast.expr) -> str:
        if self._check(node, is_truth=False) != "number":
            raise ValueError(f"{ast.unparse(node)!r} is a text, a number is wanted")
        return "number"

    def _evaluate(self, node: ast.expr, values: Values) -> Any:
        match node:
            case ast.BoolOp(op=op, values=parts):
                join = np.logical_and if isinstance(op, ast.And) else np.logical_or
                return reduce(join, [self._evaluate(part, values) for part in parts])
            case ast.UnaryOp(op=op, operand=part):
                found = self._evaluate(part, values)
                return np.logical_not(found) if isinstance(op, ast.Not) else -found
            case ast.Compare(left=left, comparators=others, ops=ops):
                sides = [self._evaluate(side, values) for side in (left, *others)]
                return reduce(np.logical_and, [_compare(op, a, b) for op, a, b in zip(ops, sides, sides[1:], strict=False)])
            case ast.BinOp(left=left, right=right, op=op):
                return _ARITHMETIC[type(op)](self._evaluate(left, values), self._evaluate(right, values))
            case ast.Name(id=name):
                return values[name]
            case ast.Constant(value=str() as text):
                return text
            case ast.Constant(value=int() | float() as number):
                return np.float64(number)
        raise AssertionError(node)


def _compare(op: ast.cmpop, one: Any, other: Any) -> Any:
    """Elementwise; of what has no value (NaN) not even != holds."""
    found = _COMPARISONS[type(op)](one, other)
    if np.asarray(one).dtype.kind == "f" or np.asarray(other).dtype.kind == "f":
        found = np.logical_and(found, ~(np.isnan(one) | np.isnan(other)))
    return found
