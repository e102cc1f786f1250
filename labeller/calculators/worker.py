"""The process that an ASE calculator runs in: it makes the calculator, then labels structures one by one until it is told to end."""

import os
import socket
import threading
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from distillery.errors import Problem
from distillery.schema.teacher_name import CalculatorName
from labeller.calculators.factory import make_calculator
from labeller.calculators.labels import gives, label_structure

_LONGEST_SAID = 300


@dataclass(frozen=True)
class Outline:
    """What a calculator says of itself: by its properties and, all of them optional, its attributes.

    elements      chemical symbols that it knows; empty if it does not say
    periodic      False if it knows molecules and clusters alone
    conservative  False if its forces are no derivatives of its energy
    knows_charge, knows_spin  True if it reads `atoms.info["charge"]`, and the multiplicity in `atoms.info["spin"]`
    """

    elements: tuple[str, ...]
    stress: bool
    periodic: bool
    conservative: bool
    knows_charge: bool
    knows_spin: bool
    atomic_energies: bool


@dataclass(frozen=True)
class Failure:
    """What was raised, for a person; `is_lasting` if it would be again, whatever structure came."""

    said: str
    is_lasting: bool = False


def serve_calculator(descriptor: int, lifeline: int) -> None:
    """Answer with an Outline or a Failure, then with a Label or a Failure for every structure; ends when the parent does."""
    threading.Thread(target=_end_with_parent, args=(lifeline,), daemon=True).start()
    connection = Connection(descriptor)
    name: CalculatorName = connection.recv()
    try:
        calculator = make_calculator(name)
        connection.send(_describe(calculator))
    except Exception as error:
        connection.send(Failure(_tell(error), is_lasting=True))
        return
    while True:
        try:
            structure = connection.recv()
        except EOFError:
            return
        try:
            answer: Any = label_structure(calculator, structure)
        except Exception as error:
            answer = Failure(_tell(error))
            calculator = make_calculator(name)  # the old one may be in any state
        connection.send(answer)


def _describe(calculator: Any) -> Outline:
    periodic = bool(getattr(calculator, "periodic", True))
    return Outline(
        elements=tuple(getattr(calculator, "elements", ())),
        stress=periodic and gives(calculator, "stress"),
        periodic=periodic,
        conservative=bool(getattr(calculator, "conservative", True)),
        knows_charge=bool(getattr(calculator, "knows_charge", False)),
        knows_spin=bool(getattr(calculator, "knows_spin", False)),
        atomic_energies=gives(calculator, "energies"),
    )


def _tell(error: Exception) -> str:
    said = error.detail if isinstance(error, Problem) else "".join(traceback.format_exception_only(error)).strip()
    return said if len(said) <= _LONGEST_SAID else said[:_LONGEST_SAID] + "…"


def _end_with_parent(lifeline: int) -> None:
    """The other end is closed when the parent ends, however it does."""
    with socket.socket(fileno=lifeline) as line:
        line.recv(1)
    os._exit(1)
