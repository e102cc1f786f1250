"""An app of the tests as a process of its own: `python -m tests.process MODULE:FUNCTION`, else as `distillery serve`."""

import argparse
from pkgutil import resolve_name

from distillery.http.access import AccessSettings
from distillery.http.process import Place, run_process
from distillery.telemetry.setup import send_spans

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", help="makes the app")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--gateway")
    parser.add_argument("--stop-seconds", type=int, default=25)
    arguments = vars(parser.parse_args())
    build = arguments.pop("build")
    with send_spans(build):
        run_process(resolve_name(build)(), AccessSettings(), Place(**arguments))
