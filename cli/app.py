"""The `distillery` command's root, its exit codes, and the options that several commands take."""

import signal
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from cli.completion import complete_dataset

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
        import platform
        from importlib.metadata import version

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
        metavar="URL|FILE",
        help="A running gateway, or the file with its address (its API key, if it has one, in DISTILLERY_API_KEY or a file named by "
        "DISTILLERY_API_KEY_FILE). Without it everything runs in this process.",
    ),
]
Dataset = Annotated[
    Path, typer.Argument(metavar="DATASET", help="A dataset: its name, its folder or its dataset.h5.", autocompletion=complete_dataset)
]
Data = Annotated[Path, typer.Option("--data", help="Folder of the datasets, where they are not on a gateway.")]

_STOP_SECONDS = 1.5

T = TypeVar("T")


def run_until_signal(work: Coroutine[Any, Any, T], acknowledge: Callable[[], None], abandon: Callable[[], NoReturn] | None = None) -> T:
    """The result of `work`; at SIGINT or SIGTERM it is cancelled, and asyncio.CancelledError raised once it has cleaned up.

    acknowledge  called at once, also while `work` keeps the event loop from running
    abandon      ends the process; called, in whatever thread, if it is still there 1.5 s later, or at a second signal, after `work` too
    """
    import asyncio

    async def watch() -> T:
        task, loop = asyncio.ensure_future(work), asyncio.get_running_loop()
        is_stopping = False

        def stop(number: int, frame: object) -> None:
            nonlocal is_stopping
            if abandon is not None and is_stopping:
                _call_later(0, abandon)  # not here, for the signal may have come in the middle of a line
                return
            try:
                acknowledge()
            except RuntimeError:  # it did: nothing else can be written before that line is
                loop.call_soon_threadsafe(acknowledge)
            if abandon is not None:
                _call_later(_STOP_SECONDS, abandon)
            is_stopping = True
            loop.call_soon_threadsafe(task.cancel)

        before = {name: signal.signal(name, stop) for name in (signal.SIGINT, signal.SIGTERM)}
        try:
            return await task
        finally:
            if abandon is None or not is_stopping:  # else a signal while the last words are said would leave them unsaid
                for name, handler in before.items():
                    signal.signal(name, handler)

    return asyncio.run(watch())


def _call_later(seconds: float, work: Callable[[], object]) -> None:
    timer = threading.Timer(seconds, work)
    timer.daemon = True
    timer.start()
