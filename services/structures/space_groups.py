"""The operations of space groups, by any name that a CIF may give one: from spglib's table of 530 settings."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import numpy as np
import spglib
import spglib.error
from numpy.typing import NDArray

spglib.error.OLD_ERROR_HANDLING = False  # exceptions, as from spglib 3 on; the old way warns at every call
_N_SETTINGS = 530
_LARGEST_DENOMINATOR = 24
_METRIC_TOLERANCE = 0.02
"""By which a cell's squared lengths may differ from what its symmetry wants, as a share of the largest: rounded and measured cells do."""
_MONOCLINIC = range(3, 16)
_CHOICES = {"s": "1", "z": "2"}
"""How ICSD names choices of the origin; spglib has the International Tables' 1 and 2, H and R."""
_BEFORE_E: Mapping[int, str] = {
    **{316 + k: name for k, name in enumerate(("Cmma", "Cmmb", "Abmm", "Acmm", "Bmcm", "Bmam"))},
    **{322 + k: name for k, name in enumerate(name for name in ("Ccca", "Cccb", "Abaa", "Acaa", "Bbcb", "Bbab") for _ in range(2))},
}
"""Names of settings of groups 67 and 68 before the letter e was brought in: de Wolff et al., Acta Cryst. A48, 727 (1992)."""


@dataclass(frozen=True)
class Named:
    """What a file says of its space group, empty or None where it says nothing.

    names   Hermann-Mauguin, short or full, or Schoenflies; with or without `:2`, `:H` or the like
    number  of the International Tables
    hall    Hall's symbol
    choice  of origin, axes or cell: 1, 2, H, R, b1, …
    """

    names: Sequence[str] = ()
    number: int | None = None
    hall: str = ""
    choice: str = ""


@dataclass(frozen=True)
class Setting:
    """One way to write a space group: its name, with its choice of origin or axes, and its operations, as in `-x,y+1/2,-z`."""

    name: str
    operations: Sequence[str]


def find_settings(named: Named, cell: NDArray[np.float64]) -> Iterator[Setting]:
    """The settings that may be meant, the usual one first; none if nothing is said of a group.

    Of those that one name has it is those that keep the cell (rows are vectors) as it is: so R -3 m has hexagonal or rhombohedral axes,
    and P 21/c b or c as its unique axis. ValueError says what is not known, or does not go together.
    """
    n_fitting, chosen = 0, _choose_settings(named)
    for number in chosen:
        found = spglib.get_symmetry_from_database(number)
        assert found is not None
        if _keeps_metric(found["rotations"], cell):
            n_fitting += 1
            yield Setting(_describe_setting(number), [_write_operation(*one) for one in zip(*found.values(), strict=True)])
    if chosen and not n_fitting:
        raise ValueError(f"its cell has not the symmetry of its space group ({_describe(named)}): is it another setting, or primitive?")


def _choose_settings(named: Named) -> Sequence[int]:
    """The settings, as Hall numbers, that all that is said goes for; none if nothing is said.

    A name that is not known is passed over where the group's number leaves no choice.
    """
    by_names, by_number = [_look_up(name) for name in named.names], _list_numbers().get(named.number or 0, ())
    if len(by_number) == 1:
        by_names = [own for own in by_names if own]
    known = [*by_names, *([_list_halls().get(_reduce(named.hall), ())] if named.hall else []), *([by_number] if named.number else [])]
    found = [setting for setting in known[0] if all(setting in own for own in known)] if known else []
    found = [setting for setting in found if _has_choice(setting, named.choice)]
    if known and not found:
        raise ValueError(f"no space group is {_describe(named)}: correct that, or list its operations")
    return found


def _read_type(setting: int) -> spglib.SpaceGroupType:
    found = spglib.get_spacegroup_type(setting)
    assert found is not None  # of a number that is none
    return found


def _describe_setting(number: int) -> str:
    group = _read_type(number)
    name = str(group.international_full if group.number in _MONOCLINIC else group.international).split("=")[0].strip().replace("_", "")
    return f"{name} :{group.choice}" if str(group.choice)[:1] in {"1", "2", "H", "R"} else name


def _look_up(name: str) -> Sequence[int]:
    """The settings of a name, those of a choice alone if it ends in one."""
    names = _list_names()
    if whole := names.get(_reduce(name)):
        return whole
    stem, _, choice = name.partition(":") if ":" in name else (name.rstrip()[:-1], "", name.rstrip()[-1:])
    return [setting for setting in names.get(_reduce(stem), ()) if _has_choice(setting, choice)]


def _has_choice(setting: int, choice: str) -> bool:
    choice = choice.strip().lower()
    own = str(_read_type(setting).choice).lower()
    return not choice or own in {choice, _CHOICES.get(choice)}


@cache
def _list_names() -> Mapping[str, Sequence[int]]:
    """Settings, in their order, of names without blanks and the like."""
    names = defaultdict[str, list[int]](list)
    for setting in range(1, _N_SETTINGS + 1):
        for name in dict.fromkeys(map(_reduce, _name_setting(setting))):
            names[name].append(setting)
    return names


def _name_setting(setting: int) -> Iterable[str]:
    """Every name of a setting; a monoclinic one also without its 1s, a cubic one also without its bar, as before 1983."""
    group = _read_type(setting)
    full = str(group.international_full)
    short = [name.strip() for name in str(group.international).split("=")]
    if group.number in _MONOCLINIC:
        short = [short[0], full.replace(" 1", ""), *short[2:]]
    if setting in _BEFORE_E:
        short.append(_BEFORE_E[setting])
    elif "e" in short[0]:
        short += [short[0].replace("e", letter) for letter in "abc"]
    if group.number >= 195:
        short += [re.sub(r"(?<=[a-z] )-3", "3", name) for name in short]
    return [*short, full, str(group.schoenflies)]


@cache
def _list_halls() -> Mapping[str, Sequence[int]]:
    halls = defaultdict[str, list[int]](list)
    for setting in range(1, _N_SETTINGS + 1):
        halls[_reduce(_read_type(setting).hall_symbol)].append(setting)
    return halls


@cache
def _list_numbers() -> Mapping[int, Sequence[int]]:
    numbers = defaultdict[int, list[int]](list)
    for setting in range(1, _N_SETTINGS + 1):
        numbers[_read_type(setting).number].append(setting)
    return numbers


def _reduce(name: str) -> str:
    """A name without blanks and signs, its raised and lowered digits, as ASE writes them, plain."""
    return re.sub(r"[\s_()^]", "", unicodedata.normalize("NFKC", name)).replace("\u2212", "-").lower()


def _keeps_metric(rotations: NDArray[np.int32], cell: NDArray[np.float64]) -> bool:
    metric = cell @ cell.T
    turned = np.einsum("nki,kl,nlj->nij", rotations, metric, rotations)
    return bool(np.abs(turned - metric).max() <= _METRIC_TOLERANCE * np.abs(metric).max())


def _write_operation(rotation: NDArray[np.int32], translation: NDArray[np.float64]) -> str:
    return ",".join(map(_write_row, rotation.tolist(), translation.tolist()))


def _write_row(factors: Sequence[int], shift: float) -> str:
    turned = "".join(f"{'+' if factor > 0 else '-'}{axis}" for factor, axis in zip(factors, "xyz", strict=True) if factor)
    moved = Fraction(shift).limit_denominator(_LARGEST_DENOMINATOR)
    return turned.removeprefix("+") + (f"+{moved}" if moved > 0 else f"{moved}" if moved else "")


def _describe(named: Named) -> str:
    said = [*named.names, named.hall and f"Hall's {named.hall}", named.number and f"number {named.number}", named.choice]
    return ", ".join(str(one) for one in said if one)
