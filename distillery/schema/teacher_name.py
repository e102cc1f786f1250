"""Names of teachers; those of ASE calculators say where the calculator comes from and with which options it is made."""

import ast
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StrictStr

ASE_PREFIX = "ase:"
_LONGEST = 500
_GRAMMAR = "ase:module:factory or ase:module:factory(option=value, …), values being plain literals"
_DOTTED = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_CALCULATOR = re.compile(rf"ase:(?P<module>{_DOTTED}):(?P<factory>{_DOTTED})(?P<options>\(.*\))?", re.ASCII)


@dataclass(frozen=True)
class CalculatorName:
    """What a name that begins with `ase:` says.

    module   to import
    factory  in it: a class of ASE calculators, a method of one that makes one, or a function that says it returns one
    options  its keyword arguments
    """

    module: str
    factory: str
    options: Mapping[str, Any]

    def __str__(self) -> str:
        options = ", ".join(f"{key}={self.options[key]!r}" for key in sorted(self.options))
        return f"{ASE_PREFIX}{self.module}:{self.factory}" + (f"({options})" if options else "")


def parse_calculator(name: str) -> CalculatorName:
    """A name that begins with `ase:`; ValueError says what was wanted. Nothing is imported or called."""
    found = _CALCULATOR.fullmatch(name.strip())
    if found is None or len(name) > _LONGEST:
        raise ValueError(f"a teacher that is an ASE calculator is named {_GRAMMAR}, at most {_LONGEST} characters")
    return CalculatorName(found["module"], found["factory"], _read_options(found["options"] or "()"))


def _read_options(text: str) -> dict[str, Any]:
    try:
        call = ast.parse(f"f{text}", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"the options {text} can't be read: {error}; wanted is {_GRAMMAR}") from error
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise ValueError(f"one pair of brackets with options may follow, got {text}; wanted is {_GRAMMAR}")
    if call.args or any(keyword.arg is None for keyword in call.keywords):
        raise ValueError(f"every option needs its name, got {text}; wanted is {_GRAMMAR}")
    keys = [keyword.arg for keyword in call.keywords]
    if len(set(keys)) < len(keys):
        raise ValueError(f"every option may be given once, got {text}; wanted is {_GRAMMAR}")
    return {keyword.arg: _read_value(keyword.arg, keyword.value) for keyword in call.keywords if keyword.arg is not None}


def _read_value(key: str, node: ast.expr) -> Any:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"option {key} must be a plain literal (text, number, True, None, list, dict), got {ast.unparse(node)}") from error
    if not _is_plain(value):
        raise ValueError(f"option {key} must be a plain literal (text, number, True, None, list, dict), got {value!r}")
    return value


def _is_plain(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    return value is None or isinstance(value, bool | int | str)


def write_teacher(name: str) -> str:
    """The one way to write a teacher's name: of an ASE calculator its options in order, so that equal ones are equal."""
    return str(parse_calculator(name)) if name.startswith(ASE_PREFIX) else name


TeacherName = Annotated[StrictStr, Field(min_length=1), AfterValidator(write_teacher)]
