"""A folder by which jobs find the null teacher, and services of tests, as those of a package that is installed."""

from collections.abc import Mapping
from pathlib import Path

from tests.null_teacher import NAME

ROOT = Path(__file__).parents[2]


def write_plugin(folder: Path, services: Mapping[str, str] | None = None) -> str:
    """PYTHONPATH with which they are found; `services` are what makes them, as entry points have it, by name."""
    metadata = folder / "null_teacher-1.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: null-teacher\nVersion: 1\n")
    lines = ["[distillery.teachers]", f"{NAME} = tests.null_teacher:FAMILY"]
    lines += ["[distillery.services]", *(f"{name} = {made}" for name, made in (services or {}).items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return f"{folder}:{ROOT}"
