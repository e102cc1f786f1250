"""Finding and calling what makes an ASE calculator, by its name; nothing else can be called by a name."""

import inspect
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any, get_type_hints

from ase.calculators.calculator import BaseCalculator

from distillery.errors import Unavailable
from distillery.schema.explain import suggest
from distillery.schema.teacher_name import CalculatorName

_WANTED = (
    "it must be a class derived from ase.calculators.calculator.BaseCalculator, a method of one, or a function annotated to return one "
    "(-> Calculator)"
)


def make_calculator(name: CalculatorName) -> Any:
    """The calculator; Unavailable says what is missing, whatever its making raises."""
    made = find_factory(name)(**name.options)
    if not isinstance(made, BaseCalculator):
        raise Unavailable(f"{name.module}:{name.factory} made a {type(made).__name__}, which is no calculator of ASE")
    return made


def find_factory(name: CalculatorName) -> Any:
    """What makes the calculator. Unavailable if there is no such thing, or if it does not say that it makes a calculator.

    A recipe names what is called, and may come from a stranger: so it must be a class of calculators, a method of one, or a
    function that is annotated to return one. `os.system` is neither.
    """
    if name.module.partition(".")[0] in sys.stdlib_module_names:  # some of them do things when they are imported
        raise Unavailable(f"{name.module} is of Python's own library, which makes no calculator of ASE: {_WANTED}")
    try:
        owner: Any = None
        found: Any = import_module(name.module)
    except ImportError as error:
        raise _explain_missing(name, str(error)) from error
    for step in name.factory.split("."):
        if not hasattr(found, step):
            known = [one for one in dir(found) if not one.startswith("_")]
            raise Unavailable(f"{name.module} has no {name.factory}{suggest(step, known)}")
        owner, found = found, getattr(found, step)
    if not (_makes_calculators(found) or (_makes_calculators(owner) and callable(found)) or _says_it_makes_one(found)):
        raise Unavailable(f"{name.module}:{name.factory} does not say that it makes an ASE calculator: {_WANTED}")
    return found


def require_package(name: CalculatorName, package: str) -> None:
    """Unavailable if the package is not there; it is looked for and not imported, for that may take its time."""
    try:
        is_there = find_spec(package) is not None
    except ValueError:  # a module that says nothing of where it is from
        is_there = True
    if not is_there:
        raise _explain_missing(name, f"there is no {package}")


def _explain_missing(name: CalculatorName, why: str) -> Unavailable:
    return Unavailable(
        f"{name} needs the module {name.module}, which can't be imported here: {why}; install its package, or put the folder of your "
        "own module into PYTHONPATH"
    )


def _makes_calculators(found: Any) -> bool:
    return inspect.isclass(found) and issubclass(found, BaseCalculator)


def _says_it_makes_one(found: Any) -> bool:
    if not inspect.isfunction(found):
        return False
    try:
        return _makes_calculators(get_type_hints(found).get("return"))
    except (NameError, TypeError, AttributeError):  # annotations of what is only imported for type checkers
        return False
