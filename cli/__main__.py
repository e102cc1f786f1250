"""The `distillery` command, which is also `python -m cli`.

Worker processes import this module again: it must stay light, so the command itself is imported when it runs.
"""

import os
import sys

from cli.exit_codes import STOPPED


def main() -> None:
    """See `cli.main.main`. Ctrl-C before anything is begun ends it in a line.

    Threads that wait for a core which another process has spin meanwhile, and so keep it from that one. So where the environment does
    not say otherwise numpy's linear algebra has one thread, as its matrices are small, and the threads of torch sleep while they wait.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        from cli.main import main as run_command

        run_command()
    except KeyboardInterrupt:
        print("\nStopped before anything was begun.", file=sys.stderr)
        sys.exit(STOPPED)


if __name__ == "__main__":
    main()
