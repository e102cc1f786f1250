"""`python -m distillery.report.page FOLDER TARGET`: the page, made in a process of its own; prints the diversity that it shows, JSON."""

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

from distillery.errors import Problem
from distillery.report.page.page import write_page

if __name__ == "__main__":
    try:
        with redirect_stdout(sys.stderr):
            diversity = write_page(Path(sys.argv[1]), Path(sys.argv[2]))
    except Problem as problem:
        sys.exit(problem.detail)
    print(json.dumps(None if diversity is None else diversity.as_json(), allow_nan=False))
