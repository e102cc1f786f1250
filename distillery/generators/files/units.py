"""What a file says of its units where its format has no place for them: nothing that reads it would convert them."""

import re
from collections.abc import Mapping
from typing import Any

_UNIT_KEYS = ("unit", "units", "length_unit", "length_units", "position_unit", "position_units", "pos_unit", "distance_unit")
_NOT_ANGSTROM = {"bohr", "bohrs", "a0", "au", "a.u.", "atomic", "atomic_unit", "atomic_units", "nm", "nanometer", "nanometre", "pm"}
_IPI_UNIT = re.compile(r"CELL\(\w+\):|(positions|cell)\{(?!angstrom)\w*\}")
"""i-PI's comments hold cell and units in a way of its own; both would be lost."""


def find_wrong_unit(info: Mapping[str, Any]) -> str | None:
    """How a structure says itself that its lengths are not in Å, or None."""
    for key in _UNIT_KEYS:
        unit = str(info.get(key, "")).strip().lower()
        if unit in _NOT_ANGSTROM:
            return f"it says {key}={unit}; positions and cell are wanted in Å"
    if (found := _IPI_UNIT.search(str(info.get("comment", "")))) is not None:
        return f"its comment says {found[0]}, as i-PI writes; positions and cell are wanted in Å, as extended XYZ"
    return None
