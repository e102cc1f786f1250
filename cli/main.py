"""All commands together, and what becomes of their errors."""

import logging
import sys
from typing import NoReturn

from cli import (
    assess,
    check,
    derive,
    export,
    grow,
    importing,
    init,
    label,
    logs,
    open,  # noqa: A004
    recipe,
    relabel,
    report,
    run,
    schema,
    serve,
    services,
    slurm,
    status,
    steer,
    verify,
    weights,
)
from cli.app import app
from cli.exit_codes import ERROR
from cli.terminal import Console, say, write_in_any_encoding
from distillery.errors import InvalidRequest, Problem, Unavailable
from distillery.runtime.logs import TextFormatter, choose_level

__all__ = [
    "app",
    "assess",
    "check",
    "derive",
    "export",
    "grow",
    "importing",
    "init",
    "label",
    "logs",
    "main",
    "open",
    "recipe",
    "relabel",
    "report",
    "run",
    "schema",
    "serve",
    "services",
    "slurm",
    "status",
    "steer",
    "verify",
    "weights",
]


def main() -> None:
    """Run the command; a Problem, a package that is not installed, a folder or disk that fails it, and wrong settings become one clear
    message and exit code 1.
    """
    write_in_any_encoding()
    try:
        _begin_log()
        app()
    except Problem as problem:
        _end_with(problem)
    except ModuleNotFoundError as error:
        _end_with(_explain_missing(error))
    except OSError as error:
        _end_with(_explain_os_error(error))
    except ValueError as error:
        faults = _find_settings_faults(error)
        if faults is None:
            raise
        _end_with(
            InvalidRequest(
                f"settings in the environment (DISTILLERY_GATEWAY_…, _LABELLER_…, _SERVICE_… or DISTILLERY_… itself) are wrong: {faults}"
            )
        )


def _explain_os_error(error: OSError) -> Unavailable:
    """A file that could not be read or written, by its name and without a number, which tells a person nothing."""
    named = "" if error.filename is None else f"{error.filename}: "
    return Unavailable(f"{named}{error.strerror or error}; correct that, then try again")


def _begin_log() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(TextFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=choose_level("ERROR"), handlers=[handler])


def _find_settings_faults(error: ValueError) -> str | None:
    """What is wrong with settings, without what came: it may be the API key; None if the error is of something else."""
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    if isinstance(error, SettingsError):
        return str(error)
    if not isinstance(error, ValidationError) or not error.title.endswith("Settings"):
        return None
    return "; ".join(": ".join(filter(None, (".".join(map(str, fault["loc"])), fault["msg"]))) for fault in error.errors())


def _explain_missing(error: ModuleNotFoundError) -> Problem:
    """What to do without a package; `error` again if what is missing is a module of ours, which is a bug."""
    package = (error.name or "").partition(".")[0]
    if package in {"", "cli", "distillery", "gateway", "labeller", "services"}:
        raise error
    return Unavailable(
        f"{package} is not installed here; install it, use the container that has it (docs/docker.md), or ask a running "
        f"gateway: --gateway URL"
    )


def _end_with(problem: Problem) -> NoReturn:
    Console(stderr=True).print(f"[red]{problem.title}.[/red]", end="\n" if "\n" in problem.detail else " ")
    say(problem.detail, sys.stderr)
    sys.exit(ERROR)
