"""`distillery verify`."""

import json
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from cli.app import Data, Dataset, app, run_until_signal
from cli.check import use_inputs
from cli.exit_codes import GO, NO_GO, STOPPED
from cli.places import find_file
from cli.terminal import Console, choose_console, under_way
from distillery.errors import InvalidRequest, Unavailable

if TYPE_CHECKING:
    from distillery.http.client import Servers
    from distillery.verify.file_checks import Check
    from distillery.verify.verification import Verification
    from gateway.settings import GatewaySettings

_MARKS = {True: "[green]✓[/green]", False: "[red]✗[/red]", None: "[yellow]![/yellow]"}


@app.command()
def verify(
    dataset: Dataset,
    data: Data = Path("data"),
    regenerate: Annotated[
        int, typer.Option("--regenerate", min=0, metavar="N", help="Make N random shards again and compare them with the file.")
    ] = 0,
    seed: Annotated[int, typer.Option("--seed", help="Seed that chooses the shards.")] = 0,
    deployed: Annotated[
        bool,
        typer.Option(
            "--deployed", help="Make them with the running services and labeller that the gateway's settings name (DISTILLERY_GATEWAY_…)."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line in place of text.")] = False,
) -> None:
    """Check a dataset from its dataset.h5 alone: bytes, layout, structures, labels, counts and gates.

    Exit codes: 0 all is well, 3 something is not (or the gates say NO-GO), 1 it could not be checked.
    """
    if deployed and not regenerate:
        raise InvalidRequest("--deployed needs --regenerate N: it says who makes the shards again")
    from distillery.verify.verification import Verification

    settings = _read_settings() if deployed else None
    path, console = find_file(dataset, data), Console()
    with under_way(f"checking {path}", choose_console(console, is_data=as_json)) as tell:
        verified = Verification(path, lambda what, done, n: tell(f"{what} {done} of {n} parts"))
        n_findings = sum(_say(check, console, as_json) for check in verified.run())
        if regenerate:
            tell("loading teacher and services")
            work = _say_all(_make_again(verified, regenerate, seed, settings, tell), console, as_json)
            n_findings += _until_interrupted(work, lambda: tell("stopping …"))
    raise typer.Exit(NO_GO if n_findings else GO)


def _read_settings() -> "GatewaySettings":
    from gateway.settings import GatewaySettings

    return GatewaySettings()


def _say(check: "Check", console: Console, as_json: bool) -> bool:
    """Print a check; whether it is a finding."""
    if as_json:
        print(json.dumps(asdict(check)), flush=True)
    else:
        console.print(f"{_MARKS[check.passed]} {check.name:<15} {escape(check.figure)}", highlight=False, soft_wrap=True)
        for fault in check.faults:
            console.print(f"    {fault}", markup=False, highlight=False, soft_wrap=True)
    return check.passed is False


def _until_interrupted(work: Coroutine[Any, Any, int], acknowledge: Callable[[], None]) -> int:
    import asyncio

    try:
        return run_until_signal(work, acknowledge)
    except asyncio.CancelledError:
        print("\nStopped; what was made again is removed.", file=sys.stderr)
        raise typer.Exit(STOPPED) from None


async def _say_all(checks: "AsyncIterator[Check]", console: Console, as_json: bool) -> int:
    return sum([_say(check, console, as_json) async for check in checks])


async def _make_again(
    verified: "Verification", n: int, seed: int, deployed: "GatewaySettings | None", tell: Callable[[str], None]
) -> "AsyncIterator[Check]":
    from cli.regenerate import choose_shards, needed_services, regenerate

    if verified.is_derived:
        raise InvalidRequest(f"{verified.path} was made of other datasets: `distillery recipe {verified.path}` prints the command")
    if verified.recipe is None or verified.plan is None:
        raise InvalidRequest(f"nothing of {verified.path} can be made again: see above")
    shards = choose_shards(verified.plan, n, seed)
    factory: AbstractAsyncContextManager[tuple[GatewaySettings, Servers | None]] = (
        nullcontext((deployed, None))
        if deployed is not None
        else _open_embedded(verified.path.parent, verified.recipe.teacher, needed_services(verified.recipe, shards))
    )
    async with factory as (settings, servers):
        tell(f"making {', '.join(shard.name for shard in shards)} again")
        async for check in regenerate(verified, shards, settings, servers):
            yield check


@asynccontextmanager
async def _open_embedded(inputs: Path, teacher: str, wanted: set[str]) -> "AsyncIterator[tuple[GatewaySettings, Servers]]":
    """A labeller and the `wanted` services in this process, and settings with a data folder of their own."""
    from cli.sessions import settings_here

    try:
        from cli.local import run_apps
    except ImportError as error:
        raise Unavailable(
            f"making shards again needs services and labeller installed here: {error}; --deployed takes those of a running factory"
        ) from error
    use_inputs(inputs)
    with tempfile.TemporaryDirectory(prefix="distillery-verify-") as folder:
        settings = settings_here(Path(folder))
        async with run_apps(settings.data, teacher, wanted) as servers:
            yield settings, servers
