"""YAML 1.2 with the line of every value: the core schema and nothing that a few kilobytes can make large or run with.

https://yaml.org/spec/1.2.2/#103-core-schema. Aliases, tags, keys given twice, deep nesting and very many values are refused while
the text is being read, so that the time stays linear in its length.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from ruamel.yaml import YAML, events
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scanner import Scanner

from distillery.runtime.limits import LARGEST_DEPTH, LARGEST_NODES, LARGEST_TEXT, MOST_KEYS

Location = tuple[str | int, ...]
Lines = dict[Location, int]

_ODD_BREAKS = re.compile("[\x85\u2028\u2029]")
_MOST_BITS = 14_000
"""Of a whole number: Python writes none with more than 4,300 decimal digits, 14,284 bits, into any message."""
_SURROGATES = re.compile("[\ud800-\udbff][\udc00-\udfff]")
"""How JSON writes one character beyond the first 65,536."""
_CORE: tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...] = (
    (re.compile(r"|~|null|Null|NULL"), lambda text: None),
    (re.compile(r"true|True|TRUE|false|False|FALSE"), lambda text: text.lower() == "true"),
    (re.compile(r"[-+]?[0-9]+"), int),
    (re.compile(r"0o[0-7]+"), lambda text: _read_digits(text[2:], 8)),
    (re.compile(r"0x[0-9a-fA-F]+"), lambda text: _read_digits(text[2:], 16)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
    (re.compile(r"[-+]?\.(inf|Inf|INF)"), lambda text: float(text.replace(".", ""))),
    (re.compile(r"\.(nan|NaN|NAN)"), lambda text: float("nan")),
)


class NotYaml(ValueError):
    """A text that is not YAML, or holds what is not taken; the message has the line."""


def read_lines(text: str) -> tuple[Any, Lines]:
    """The value of a YAML text and the line (from 1) of every place in it; NotYaml if there is none."""
    if len(text) > LARGEST_TEXT:
        raise NotYaml(f"it has {len(text)} characters, at most {LARGEST_TEXT}")
    if odd := _ODD_BREAKS.search(text):
        line = text.count("\n", 0, odd.start()) + 1
        raise NotYaml(
            f"line {line} holds the character U+{ord(odd[0]):04X}, which editors take for a line's end and YAML does not; remove it"
        )
    yaml = YAML(typ="safe", pure=True)
    yaml.Scanner = _Scanner
    try:
        return _Reader(yaml.parse(text.removeprefix("\ufeff"))).read_document()
    except MarkedYAMLError as error:
        raise NotYaml(_describe(error)) from error
    except YAMLError as error:
        raise NotYaml(str(error)) from error


class _Scanner(Scanner):
    """Refuses at its first character what no text may hold: a long one of those would take long to scan."""

    def fetch_tag(self) -> None:
        raise NotYaml(f"tags ({self._excerpt}) are not allowed, line {self.reader.line + 1}; write the value without")

    def fetch_alias(self) -> None:
        raise NotYaml(f"aliases ({self._excerpt}) are not allowed, line {self.reader.line + 1}; write the value out")

    def fetch_flow_collection_start(self, TokenClass: Any, to_push: str) -> None:  # noqa: N803
        if len(self.flow_context) >= LARGEST_DEPTH:
            raise NotYaml(f"it is nested deeper than {LARGEST_DEPTH} levels, line {self.reader.line + 1}")
        super().fetch_flow_collection_start(TokenClass, to_push)

    @property
    def _excerpt(self) -> str:
        return str(self.reader.prefix(20)).strip("\0").split()[0]


class _Reader:
    """Values made of a stream of events, each refused or taken as it comes."""

    def __init__(self, stream: Iterator[Any]) -> None:
        self._events = (event for event in stream if not isinstance(event, events.StreamStartEvent | events.DocumentStartEvent))
        self._n_nodes = 0
        self._lines: Lines = {}

    def read_document(self) -> tuple[Any, Lines]:
        """The only document of the stream; None if there is none."""
        first = next(self._events)
        if isinstance(first, events.StreamEndEvent):
            return None, {}
        value = self._read(first, ())
        next(self._events)  # the document's end
        if not isinstance(after := next(self._events), events.StreamEndEvent):
            raise NotYaml(f"a second document begins, {_line(after)}; only one is allowed")
        return value, self._lines

    def _read(self, event: Any, at: Location) -> Any:
        self._refuse_excess(event, at)
        self._lines.setdefault(at, event.start_mark.line + 1)
        if isinstance(event, events.MappingStartEvent):
            return self._read_mapping(at)
        if isinstance(event, events.SequenceStartEvent):
            return self._read_list(at)
        return _resolve(event)

    def _refuse_excess(self, event: Any, at: Location) -> None:
        self._n_nodes += 1
        if self._n_nodes > LARGEST_NODES:
            raise NotYaml(f"it has more than {LARGEST_NODES} values, {_line(event)}")
        if len(at) >= LARGEST_DEPTH and isinstance(event, events.CollectionStartEvent):
            raise NotYaml(f"it is nested deeper than {LARGEST_DEPTH} levels, {_line(event)}")

    def _read_mapping(self, at: Location) -> dict[Any, Any]:
        mapping: dict[Any, Any] = {}
        while not isinstance(event := next(self._events), events.MappingEndEvent):
            self._refuse_excess(event, at)
            if not isinstance(event, events.ScalarEvent):
                raise NotYaml(f"keys must be plain text, {_line(event)}")
            if len(mapping) == MOST_KEYS:
                raise NotYaml(f"a mapping has more than {MOST_KEYS} keys, {_line(event)}")
            key = _resolve(event)
            if key in mapping:
                raise NotYaml(f"key {key!r} is given twice, {_line(event)}")
            self._lines[(*at, key)] = event.start_mark.line + 1
            mapping[key] = self._read(next(self._events), (*at, key))
        return mapping

    def _read_list(self, at: Location) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), events.SequenceEndEvent):
            items.append(self._read(event, (*at, len(items))))
        return items


def _resolve(scalar: Any) -> Any:
    """A scalar by the core schema: `No` is nobelium, `010` ten, and `1:30`, `1_000` and dates are text."""
    if not scalar.implicit[0]:
        return _SURROGATES.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), scalar.value)
    for pattern, make in _CORE:
        if pattern.fullmatch(scalar.value):
            try:
                return make(scalar.value)
            except ValueError as error:  # more digits than Python takes
                raise NotYaml(f"{scalar.value[:40]!r}…: {error}, {_line(scalar)}") from error
    return scalar.value


def _read_digits(digits: str, base: int) -> int:
    """A whole number in octal or hexadecimal digits; ValueError if it could not be written in decimal ones."""
    value = int(digits, base)
    if value.bit_length() > _MOST_BITS:
        raise ValueError(f"a number of {value.bit_length()} bits, at most {_MOST_BITS} are taken")
    return value


def _describe(error: MarkedYAMLError) -> str:
    """What the reader says, in one line, without the piece of the text that it marks with a caret."""
    mark = error.problem_mark or error.context_mark
    return " ".join(filter(None, (error.problem, error.context))) + (f", line {mark.line + 1}" if mark else "")


def _line(event: Any) -> str:
    return f"line {event.start_mark.line + 1}"
