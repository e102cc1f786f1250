"""The `distillery` command, which is also `python -m cli`.

Worker processes import this module again: it must stay light, so the command itself is imported when it runs.
"""


def main() -> None:
    """See `cli.main.main`."""
    from cli.main import main as run_command

    run_command()


if __name__ == "__main__":
    main()
