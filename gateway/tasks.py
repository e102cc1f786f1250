"""Tasks: coroutines side by side."""

import asyncio
from collections.abc import Coroutine, Iterable, Iterator
from typing import Any

from contract.problems import Problem


async def run_all(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run coroutines side by side; the first that fails stops the others, and its exception is raised itself."""
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in work:
                group.create_task(coroutine)
    except BaseExceptionGroup as failures:
        found = list(_leaves(failures))
        raise next((error for error in found if isinstance(error, Problem)), found[0]) from failures


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
