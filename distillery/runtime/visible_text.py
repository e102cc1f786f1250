"""Text for people: characters that a terminal would obey instead of showing are written as Python writes them, such as `\\x1b`."""

import unicodedata
from pathlib import Path

_OBEYED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of control, of format (such as what turns the direction of writing), half characters, ends of lines."""


def is_utf8(path: Path) -> bool:
    """Whether JSON and URLs can have a path: of bytes that are no UTF-8 Python makes halves of surrogate pairs."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def make_visible(text: str, keep: str = "\n\t") -> str:
    """The text without control characters other than those to `keep`: names, messages and files of others may hold any."""
    return text if text.isprintable() else "".join(c if c in keep or not _is_obeyed(c) else _escape(c) for c in text)


def _is_obeyed(character: str) -> bool:
    return unicodedata.category(character) in _OBEYED


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
