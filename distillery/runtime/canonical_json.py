"""Canonical JSON, in which the same value gives the same text, and conversion of values to what JSON can hold."""

import json
import math
from collections.abc import Mapping
from typing import Any

_DEEPEST = 50
_LONGEST_INT = 10_000
"""Bits; Python writes no number of more than 4300 digits, and reads none."""
_PLAIN = (str, int, float, bool, type(None), list, tuple, dict)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: the same value gives the same text. NaN and infinity are errors."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def to_json_safe(value: Any, depth: int = 0) -> Any:
    """The value as JSON can carry it: numpy's as plain ones, null for what it can't.

    Those are NaN, infinity, integers of thousands of digits, unknown kinds, and what is nested too deep.

    Halves of surrogate pairs become question marks. TypeError is never raised: what is known of a structure is no reason to lose it.
    """
    if type(value) not in _PLAIN:
        value = _unwrap(value)
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if value.bit_length() <= _LONGEST_INT else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth >= _DEEPEST:
        return None
    if isinstance(value, Mapping):
        return {str(to_json_safe(key)): to_json_safe(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json_safe(item, depth + 1) for item in value]
    return None


def _unwrap(value: Any) -> Any:
    """Numpy's values as plain ones, all others as they are."""
    import numpy as np  # recipes are digested here too, and need none of it

    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value
