"""This process' environment: changed while another process is started, and read as it is otherwise."""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_changing = threading.Lock()


@contextmanager
def change_environment(changes: Mapping[str, str]) -> Iterator[None]:
    """The environment with changes, for a process started or code imported meanwhile, that can be handed none of its own."""
    with _changing:
        before = {name: os.environ.get(name) for name in changes}
        os.environ.update(changes)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def read_environment() -> dict[str, str]:
    """The environment without what is changed for others."""
    with _changing:
        return dict(os.environ)
