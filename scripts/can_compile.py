"""Exits with 0 where all packages that tests need can be installed on this Python, else with what is missing."""

import sys
import sysconfig
from pathlib import Path
from shutil import which

NO_WHEEL_SINCE = (3, 13)
"""CHGNet has none from this Python on, and is compiled."""


def find_missing() -> str | None:
    """What has to be installed first; None if nothing has."""
    if sys.version_info < NO_WHEEL_SINCE:
        return None
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    missing = [f"the compiler {compiler}"] if which(compiler) is None else []
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        missing.append("Python.h")
    python = "{}.{}".format(*sys.version_info)
    advice = "on Debian: apt-get install gcc libc6-dev python3-dev"
    return (
        f"make test compiles chgnet, which has no wheel for Python {python}; missing: {', '.join(missing)}. {advice}" if missing else None
    )


sys.exit(find_missing())
