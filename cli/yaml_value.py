"""Values of a recipe that a command writes, as YAML."""

import json
import re
from typing import Any

_WORDS = frozenset({"n", "y", "no", "yes", "on", "off", "true", "false", "null"})
"""What some readers of YAML take for something else than a text."""


def write_value(value: Any) -> str:
    """A value in YAML's flow style."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {write_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(write_value, value)) + "]"
    is_plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", value) and value.lower() not in _WORDS
    return str(value) if is_plain else json.dumps(value, ensure_ascii=not str(value).isprintable())
