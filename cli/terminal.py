"""What is written to a terminal: in whatever encoding it has, and never silent for long."""

import codecs
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import TextIO

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

from distillery.runtime.visible_text import make_visible

_PLAIN = {
    "✓": "+",
    "✗": "x",
    "…": "...",
    "–": "-",
    "—": "-",
    "−": "-",
    "≥": ">=",
    "≤": "<=",
    "→": "->",
    "·": "-",
    "━": "-",
    "×": "x",
    "Å": "A",
}
_ERRORS = "distillery-plain"


def write_in_any_encoding() -> None:
    """From now on characters that standard output or error can't encode are written in plain ones, instead of ending the command."""
    codecs.register_error(_ERRORS, _write_plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def _write_plainly(error: UnicodeError) -> tuple[str, int]:
    """What stands for the characters that can't be encoded: a likeness, the letter without its accent, or `?`."""
    assert isinstance(error, UnicodeEncodeError)
    found = error.object[error.start : error.end]
    return "".join(map(_find_plain, found)), error.end


def _find_plain(character: str) -> str:
    known = _PLAIN.get(character) or unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return known or ("*" if "\u2800" <= character <= "\u28ff" else "?")  # the spinner's braille


class Console(rich.console.Console):
    """Rich's console, whose texts can't steer the terminal: what a teacher, a service or a file says may hold escape sequences."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """See `rich.console.Console`; every text that is shown comes through here, and Rich's own styles and moves are no text."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(make_visible(segment.text), segment.style)


def say(text: str, file: TextIO | None = None) -> None:
    """Print a text as it is, but for what would steer the terminal, at once; to standard output unless a file is given."""
    print(make_visible(text), file=file, flush=True)


def choose_console(output: Console, is_data: bool = False) -> Console:
    """Where progress goes: to `output` itself where that is a terminal, so that neither writes over the other, else to standard error.

    is_data  lines of output are for programs: they may not be wrapped as a live display's are
    """
    return output if output.is_terminal and not is_data else Console(stderr=True)


def can_redraw(console: Console) -> bool:
    """True of a terminal on which lines can be written anew; on others (TERM=dumb) Rich shows nothing of a live display until its end."""
    return console.is_terminal and not console.is_dumb_terminal


@contextmanager
def under_way(what: str, console: Console | None = None) -> Iterator[Callable[[str], None]]:
    """Show on a terminal what is under way and for how long; the function that is given changes what is shown."""
    console = console or Console(stderr=True)
    if not can_redraw(console):
        yield lambda what: None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False)
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda what: progress.update(task, description=what)
