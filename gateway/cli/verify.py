"""`distillery verify`."""

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from contract.problems import InvalidRequest, Unavailable
from gateway.cli.app import GO, NO_GO, app
from gateway.shape import Check
from gateway.verify import Progress, Verification

_MARKS = {True: "[green]✓[/green]", False: "[red]✗[/red]", None: "[yellow]![/yellow]"}


@app.command()
def verify(
    dataset: Annotated[Path, typer.Argument(help="A dataset.h5; its parts need not be there any more.")],
    regenerate: Annotated[
        int, typer.Option("--regenerate", min=0, metavar="N", help="Make N random shards again, here, and compare them with the file.")
    ] = 0,
    seed: Annotated[int, typer.Option("--seed", help="Another seed, other shards.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line in place of text.")] = False,
) -> None:
    """Check a dataset from its file alone: bytes, layout, structures, labels, counts and gates.

    Exit codes: 0 all is well, 3 something is not (or the gates say NO-GO), 1 it could not be checked.
    """
    console, errors = Console(), Console(stderr=True)
    with _shown(errors) as progress:
        verified = Verification(dataset, progress)
        n_findings = sum(_say(check, console, as_json) for check in verified.run())
    if regenerate:
        n_findings += asyncio.run(_regenerate(verified, regenerate, seed, console, as_json))
    raise typer.Exit(NO_GO if n_findings else GO)


def _say(check: Check, console: Console, as_json: bool) -> bool:
    """Print a check; whether it is a finding."""
    if as_json:
        print(json.dumps(asdict(check), ensure_ascii=False), flush=True)
    else:
        console.print(f"{_MARKS[check.passed]} {check.name:<11}", end=" ")
        console.print(check.figure, markup=False, highlight=False, soft_wrap=True)
        for fault in check.faults:
            console.print(f"    {fault}", markup=False, highlight=False, soft_wrap=True)
    return check.passed is False


async def _regenerate(verified: Verification, n: int, seed: int, console: Console, as_json: bool) -> int:
    return sum([_say(check, console, as_json) async for check in _make_again(verified, n, seed)])


async def _make_again(verified: Verification, n: int, seed: int) -> AsyncIterator[Check]:
    from gateway.regenerate import choose_shards, list_services, regenerate

    try:
        from gateway.embedded import run_apps
    except ImportError as error:
        raise Unavailable(f"making shards again needs services and labeller installed here: {error}") from error
    if verified.recipe is None or verified.plan is None:
        raise InvalidRequest(f"nothing of {verified.path} can be made again: see above")
    shards = choose_shards(verified.plan, n, seed)
    os.environ.setdefault("DISTILLERY_SERVICE_INPUTS", str(verified.path.parent.resolve()))
    with tempfile.TemporaryDirectory(prefix="distillery-verify-") as folder:
        async with run_apps(Path(folder), verified.recipe.teacher, list_services(verified.recipe, shards)) as connect:
            async for check in regenerate(verified, shards, connect, Path(folder)):
                yield check


@contextmanager
def _shown(console: Console) -> Iterator[Progress]:
    """Show how far it is, on a terminal only."""
    with console.status("") as status:
        yield lambda what, done, n: status.update(f"{what} {done} of {n} parts")
