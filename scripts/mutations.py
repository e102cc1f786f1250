"""The changes of one place that a module is tried with: comparisons, arithmetic, constants, conditions, returns, statements removed."""

import ast
from collections.abc import Iterator
from typing import Any, NamedTuple

SWAPS = [
    line.split()
    for line in (
        *("Lt LtE GtE", "LtE Lt Gt", "Gt GtE LtE", "GtE Gt Lt", "Eq NotEq", "NotEq Eq", "Is IsNot", "IsNot Is", "In NotIn", "NotIn In"),
        *("And Or", "Or And", "BitAnd BitOr", "BitOr BitAnd", "Add Sub", "Sub Add", "Mult Div", "Div Mult", "FloorDiv Mult", "Mod Mult"),
        *("Pow Mult", "MatMult Add", "USub UAdd"),
    )
]
"""An operator, and what is put in its place."""


class Change(NamedTuple):
    """One place of the module: `field` of `node` gets `value`; `lines` are those of its statement, none where it runs on import."""

    node: ast.AST
    field: str
    value: Any
    line: int
    lines: range
    words: str


def find_changes(node: ast.AST, line: int = 1, lines: range = range(0), is_called: bool = False) -> Iterator[Change]:
    """All that are tried; annotations, docstrings, sentences, decorators and assertions stay as they are."""
    line = getattr(node, "lineno", line)
    if is_called and isinstance(node, ast.stmt):
        body = getattr(node, "body", None) or getattr(node, "cases", None)
        lines = range(line, (getattr(body[0], "lineno", line + 1) if body else node.end_lineno + 1))
    is_called |= isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list") or isinstance(node, ast.Assert) or is_docstring(node):
            continue
        for k, child in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(child, ast.AST):
                for new, words in find_alternatives(child, is_condition=field in ("test", "ifs")):
                    whole = [*value[:k], new, *value[k + 1 :]] if isinstance(value, list) else new
                    at = getattr(child, "lineno", line)
                    own = range(at, child.end_lineno + 1) if is_called and isinstance(child, ast.stmt) else lines
                    yield Change(node, field, whole, at, own, words)
                yield from find_changes(child, line, lines, is_called)


def find_alternatives(node: ast.AST, is_condition: bool) -> Iterator[tuple[ast.AST, str]]:
    """What may stand in place of a node, and the change in words."""
    for own, *others in SWAPS:
        if own == type(node).__name__:
            yield from ((getattr(ast, other)(), f"{own} becomes {other}") for other in others)
    if is_condition and isinstance(node, ast.expr):
        yield ast.UnaryOp(ast.Not(), node), f"`{ast.unparse(node)}` is negated"
    if isinstance(node, ast.Constant):
        yield from ((ast.Constant(value), f"{node.value!r} becomes {value!r}") for value in other_values(node.value))
    is_call = isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant)
    if is_call or isinstance(node, ast.AugAssign | ast.Raise | ast.Delete | ast.Continue | ast.Break):
        yield ast.Pass(), f"`{ast.unparse(node)}` is removed"
    if isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant):
        yield ast.Return(ast.Constant(None)), f"`{ast.unparse(node)}` returns None"


def other_values(value: object) -> Iterator[object]:
    """Another value for a constant; sentences are for people, they stay."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield value + 1 if isinstance(value, int) else value * 1.5 + (value == 0)
    elif isinstance(value, str) and value and " " not in value:
        yield f"{value}X"


def is_docstring(node: ast.AST) -> bool:
    """Also of a constant, below it."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
