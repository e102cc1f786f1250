"""How fast counts grow, and how long the rest takes at that rate."""

import time
from collections import deque

_SAMPLE_SECONDS = 10.0
_WINDOW_SECONDS = 900.0


class Rates:
    """Structures per second of every row in the last quarter of an hour, as far as this process has seen it."""

    def __init__(self) -> None:
        self._seen: dict[str, deque[tuple[float, int]]] = {}

    def note(self, name: str, labelled: int) -> None:
        """Take in a count. Where it falls, for some were left out again, its rate begins anew."""
        now = time.monotonic()
        seen = self._seen.setdefault(name, deque())
        if seen and labelled < seen[-1][1]:
            seen.clear()
        if len(seen) > 1 and now - seen[-2][0] < _SAMPLE_SECONDS:
            seen.pop()
        seen.append((now, labelled))
        while now - seen[0][0] > _WINDOW_SECONDS:
            seen.popleft()

    def describe(self, name: str, missing: int | None) -> str:
        """For example `1.30/s`, and ` about 2 min left` where what is missing is given; empty while nothing is known."""
        (began, before), (now, labelled) = self._seen[name][0], self._seen[name][-1]
        if labelled == before or now == began:
            return ""
        rate = (labelled - before) / (now - began)
        return f"{rate:.2f}/s" + (f", about {describe_seconds(missing / rate)} left" if missing else "")


def describe_seconds(seconds: float) -> str:
    """For example `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
