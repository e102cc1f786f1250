"""Log lines: text for a terminal, one JSON object a line for programs; both with what they are about."""

import json
import logging
import os
import socket
import sys
from datetime import UTC, datetime
from typing import TextIO

from distillery.errors import InvalidRequest
from distillery.runtime.trace import find_trace
from distillery.runtime.visible_text import make_visible

FORMAT_VARIABLE, LEVEL_VARIABLE = "DISTILLERY_LOG_FORMAT", "DISTILLERY_LOG"


class TextFormatter(logging.Formatter):
    """Lines for people: what others say can't steer the terminal that they are shown on."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        return make_visible(super().format(record))


_TEXT = TextFormatter("%(levelname)s:     %(message)s")


class JsonFormatter(logging.Formatter):
    """Time (UTC), level, message, service, replica; dataset, shard and trace (the request's id) where there is one."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._shared = {"service": service, "replica": socket.gethostname()}

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "logger": record.name,
            **self._shared,
        }
        if (trace := find_trace()) is not None:
            line |= {key: value for key, value in (("dataset", trace.dataset), ("shard", trace.shard), ("trace", trace.id)) if value}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def choose_level(usual: str) -> str:
    """The level from which on lines are written: DISTILLERY_LOG's, large or small, else the usual one."""
    chosen, known = (os.environ.get(LEVEL_VARIABLE) or usual).upper(), logging.getLevelNamesMapping()
    if chosen not in known:
        raise InvalidRequest(f"{LEVEL_VARIABLE} is {chosen!r}; it must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL")
    return chosen


def choose_formatter(service: str, stream: TextIO = sys.stderr) -> logging.Formatter:
    """JSON unless the stream is a terminal; DISTILLERY_LOG_FORMAT (`json` or `text`) says otherwise."""
    chosen = os.environ.get(FORMAT_VARIABLE) or ("text" if stream.isatty() else "json")
    return JsonFormatter(service) if chosen == "json" else _TEXT
