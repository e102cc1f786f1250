"""Whether a name makes a calculator, found before it is loaded: in a process of its own, as importing may take its time, or never end."""

import subprocess
import sys

from distillery.errors import Unavailable
from distillery.runtime.environment import read_environment
from distillery.schema.teacher_name import CalculatorName

CPU_SECONDS = 2
"""Of a processor; torch takes longer, and what needs it is judged when it is loaded."""
_WAIT_SECONDS = 20.0
_REFUSED = 3
_CODE = """
import resource, sys
resource.setrlimit(resource.RLIMIT_CPU, ({seconds}, {seconds}))
sys.path[:] = {path!r}
from distillery.errors import Unavailable
from distillery.schema.teacher_name import parse_calculator
from labeller.calculators.factory import find_factory
said = sys.stderr
sys.stdout = sys.stderr = open("/dev/null", "w")
try:
    find_factory(parse_calculator({name!r}))
except Exception as error:
    said.write(error.detail if isinstance(error, Unavailable) else f"{{type(error).__name__}} when it was imported: {{error}}")
    said.flush()
    sys.exit({refused})
"""


def probe_factory(name: CalculatorName) -> None:
    """Unavailable, as of `factory.find_factory`, if what is named makes no calculator; of what takes longer to import nothing is said."""
    code = _CODE.format(seconds=CPU_SECONDS, path=sys.path, name=str(name), refused=_REFUSED)
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_WAIT_SECONDS,
            env=read_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return
    if done.returncode == _REFUSED:
        raise Unavailable(f"{name}: {done.stderr.decode(errors='replace')}")
