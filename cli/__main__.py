"""The `distillery` command, which is also `python -m cli`.

Worker processes import this module again: it must stay light, so the command itself is imported when it runs.
"""

import os
import sys

from cli.exit_codes import STOPPED


def main() -> None:
    """See `cli.main.main`. Ctrl-C before anything is begun ends it in a line.

    numpy's linear algebra has one thread where the environment does not say otherwise: its matrices are small, and threads that
    wait for a core which a worker has spin meanwhile.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        from cli.main import main as run_command

        run_command()
    except KeyboardInterrupt:
        print("\nStopped before anything was begun.", file=sys.stderr)
        sys.exit(STOPPED)


if __name__ == "__main__":
    main()
