"""The `distillery` command, which is also `python -m gateway`.

Worker processes import this module again: it must stay light, so the command itself is imported when it runs.
"""


def main() -> None:
    """See `gateway.cli.main`."""
    from gateway.cli import main as run_command

    run_command()


if __name__ == "__main__":
    main()
