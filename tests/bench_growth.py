"""`make bench-growth`: seconds to add a tenth to a dataset against making the larger one anew, with a teacher that computes nothing."""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from distillery.dataset.folder import list_parts
from tests.fast_service import FastGenerator
from tests.integration.factory import factory, make
from tests.null_teacher import NAME, NullTeacher

_RECIPE = """\
name: {name}
seed: 1
teacher: {teacher}
shard_size: 1000
sources:
  molecules: {{service: molecules, system: molecule, count: {molecules}, atoms: [12, 99]}}
  crystals: {{service: crystals, system: crystal, count: {crystals}, atoms: [10, 200]}}
"""
_HOUR = 3600.0


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--structures", type=int, default=20_000)
    n = arguments.parse_args().structures
    with tempfile.TemporaryDirectory(prefix="distillery-growth-") as folder:
        data = Path(folder)
        first = _make(data, "small", n)
        n_parts = len(list_parts(data / "small"))
        grown = _make(data, "small", n + n // 10)
        n_added = len(list_parts(data / "small")) - n_parts
        anew = _make(data, "anew", n + n // 10)
    _show(n, {"made": first, "a tenth added": grown, "the larger one anew": anew}, n_parts, n_added)


def _make(data: Path, name: str, n: int) -> float:
    """Hand in a recipe for n structures and wait for its end, s."""
    recipe = _RECIPE.format(name=name, teacher=NAME, molecules=n // 2, crystals=n - n // 2)

    async def work() -> float:
        generators = {service: FastGenerator(service, [system]) for service, system in (("molecules", "molecule"), ("crystals", "crystal"))}
        async with factory(data, generators, NullTeacher()) as client:
            start = time.perf_counter()
            status = await make(client, recipe, seconds=_HOUR)
            assert status["state"] == "finished", status
            return time.perf_counter() - start

    return asyncio.run(work())


def _show(n: int, seconds: dict[str, float], n_parts: int, n_added: int) -> None:
    table = Table("", "s", "of making it anew", title=f"{n:,} structures, then {n + n // 10:,}")
    for what, took in seconds.items():
        table.add_row(what, f"{took:.1f}", f"{took / seconds['the larger one anew']:.2f}")
    Console().print(table)
    Console().print(f"{n_parts} parts stayed, {n_added} were made", highlight=False)


if __name__ == "__main__":
    main()
