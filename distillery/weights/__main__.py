"""`python -m distillery.weights services/mattergen mattergen_base /weights`: one checkpoint fetched ahead, in a service's own container."""

import logging
import sys
from pathlib import Path

from distillery.errors import Problem
from distillery.weights.catalogue import ensure_checkpoint

_USAGE = "usage: python -m distillery.weights FOLDER_OF_THE_SERVICE CHECKPOINT FOLDER_OF_WEIGHTS"


def main() -> None:
    """Fetch it, with progress on stderr; exit code 1 if it can't be had."""
    if len(sys.argv) != 4:
        sys.exit(_USAGE)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("distillery").setLevel(logging.INFO)
    service, checkpoint, weights = sys.argv[1:]
    try:
        made = ensure_checkpoint(Path(service), checkpoint, Path(weights), download=True)
    except Problem as problem:
        sys.exit(problem.detail)
    print(f"{made.name}  sha256 {made.sha256}")


if __name__ == "__main__":
    main()
