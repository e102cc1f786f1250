"""Spans: what is done, for how long, and as part of what.

Only a process that was told where to send them (`distillery.telemetry.setup`) keeps any. Elsewhere these functions do nothing.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from distillery.runtime.trace import Trace

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Tracer, TracerProvider

Value = str | int | float | bool
_provider: "TracerProvider | None" = None
_tracer: "Tracer | None" = None


def keep_with(provider: "TracerProvider | None") -> None:
    """Have this process keep its spans with `provider`; None ends that."""
    global _provider, _tracer
    _provider, _tracer = provider, None if provider is None else provider.get_tracer("distillery")


def find_provider() -> "TracerProvider | None":
    """What keeps this process's spans; None if nothing does."""
    return _provider


@contextmanager
def span(name: str, *, is_apart: bool = False, **attributes: Value) -> Iterator[None]:
    """Within the block `name` is done, as part of what is under way; an exception that leaves it is recorded.

    is_apart    it begins a trace of its own, which is linked to what is under way
    attributes  written as `distillery.<name>`; empty ones are left out
    """
    if _tracer is None:
        yield
        return
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, get_current_span

    around = get_current_span().get_span_context()
    links = [Link(around)] if is_apart and around.is_valid else None
    context = Context() if is_apart else None
    with _tracer.start_as_current_span(name, context, attributes=_name_all(attributes), links=links):
        yield


def describe(**attributes: Value) -> None:
    """Add attributes to the span that is under way."""
    if _tracer is not None:
        from opentelemetry.trace import get_current_span

        get_current_span().set_attributes(_name_all(attributes))


def note(event: str, **attributes: Value) -> None:
    """Something that happened within the span that is under way."""
    if _tracer is not None:
        from opentelemetry.trace import get_current_span

        get_current_span().add_event(event, _name_all(attributes))


def find_parent() -> "Context | None":
    """What is under way here, for `record` in another thread; None where no spans are kept."""
    if _tracer is None:
        return None
    from opentelemetry.context import get_current

    return get_current()


def record(name: str, parent: "Context", began: int, **attributes: Value) -> None:
    """A span of what is over now, as part of `parent`. `began` is a `time.time_ns()`."""
    if _tracer is not None:
        _tracer.start_span(name, parent, attributes=_name_all(attributes), start_time=began).end(time.time_ns())


def join_trace(trace: Trace) -> Trace:
    """`trace` with the id of the span that is under way, so that logs and spans name the same."""
    if _tracer is None:
        return trace
    from opentelemetry.trace import format_trace_id, get_current_span

    here = get_current_span().get_span_context()
    return replace(trace, id=format_trace_id(here.trace_id)) if here.is_valid else trace


def _name_all(attributes: dict[str, Value]) -> dict[str, Value]:
    return {f"distillery.{key}": value for key, value in attributes.items() if value != ""}
