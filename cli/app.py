"""The `distillery` command's root, its exit codes, and the options that several commands take."""

import asyncio
import platform
import signal
from collections.abc import Coroutine
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

GO, ERROR, NO_GO, STOPPED = 0, 1, 3, 130

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""**Distillery** makes labelled datasets for force-field distillation: a recipe goes in,
one HDF5 file and a GO / NO-GO verdict come out.

Begin with `distillery run recipes/quickstart.yaml`. It can be stopped or killed at any moment; the same command goes
on where it was. The dataset is `data/<name>/dataset.h5`, the verdict `data/<name>/report.json`.

Exit codes: 0 GO, 3 NO-GO, 1 error, 130 stopped by Ctrl-C.""",
)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        print(f"distillery {version('distillery')} (Python {platform.python_version()})")
        raise typer.Exit


@app.callback()
def begin(
    is_asked: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")] = False,
) -> None:
    """What comes before every command."""


Gateway = Annotated[
    str | None,
    typer.Option(
        "--gateway",
        envvar="DISTILLERY_GATEWAY",
        metavar="URL",
        help="A running gateway (its API key, if it has one, in DISTILLERY_API_KEY). Without it everything runs in this process.",
    ),
]
Data = Annotated[Path, typer.Option("--data", help="Folder of the datasets, for runs in this process.")]


T = TypeVar("T")


def run_until_signal(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`; at SIGINT or SIGTERM it is cancelled, and asyncio.CancelledError raised once it has cleaned up."""

    async def watch() -> T:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, task.cancel)
        return await task

    return asyncio.run(watch())
