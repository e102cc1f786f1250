"""The services of generative models, and where tests find upstream's code."""

import os
from pathlib import Path

import pytest

_SERVICES = Path(__file__).parents[1] / "services"
MODELS = sorted(path.parent.name for path in _SERVICES.glob("*/weights.yaml"))
CHECKED_OUT = sorted(path.parent.name for path in _SERVICES.glob("*/upstream.txt"))
"""Those whose code comes as a checkout; the others' is a package among their requirements."""


def require_upstream(name: str) -> Path:
    """The checkout in $UPSTREAM_DIR/<name>; the test is skipped, saying what is missing, where there is none."""
    folder = Path(os.environ.get("UPSTREAM_DIR", "/opt/upstream")) / name
    if not folder.is_dir():
        pytest.skip(
            f"needs the code of {name}, which is in no package index: set UPSTREAM_DIR to a folder with its checkout at the pinned commit "
            "(services/<name>/README.md)"
        )
    return folder
