"""`python -m gateway.page FOLDER TARGET`: the page, made in a process of its own."""

import sys
from pathlib import Path

from contract.problems import Problem
from gateway.page.page import write_page

if __name__ == "__main__":
    try:
        write_page(Path(sys.argv[1]), Path(sys.argv[2]))
    except Problem as problem:
        sys.exit(problem.detail)
