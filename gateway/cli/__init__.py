"""The `distillery` command: one module a command."""

import logging
import os
import sys

from rich.console import Console

from contract.problems import Problem
from gateway.cli import export, recipe, report, run, services, status, verify, weights
from gateway.cli.app import ERROR, app

__all__ = ["app", "export", "main", "recipe", "report", "run", "services", "status", "verify", "weights"]


def main() -> None:
    """Run the command; a Problem becomes one clear message and exit code 1."""
    logging.basicConfig(level=os.environ.get("DISTILLERY_LOG", "ERROR"), format="%(levelname)s %(name)s: %(message)s")
    try:
        app()
    except Problem as problem:
        Console(stderr=True).print(f"[red]{problem.title}.[/red]", end=" ")
        print(problem.detail, file=sys.stderr)
        sys.exit(ERROR)
