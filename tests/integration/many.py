"""Many finished datasets in one folder, made of one."""

import json
import os
import shutil
from pathlib import Path

from distillery.recipe.reading import parse_recipe


def multiply(data: Path, name: str, n: int) -> list[str]:
    """Make n datasets beside a finished one, which differ from it by their names alone; their names."""
    names = [f"{name}-{k:04d}" for k in range(n)]
    text = (data / name / "recipe.yaml").read_text()
    report = json.loads((data / name / "report.json").read_text())
    for other in names:
        shutil.copytree(data / name, data / other, copy_function=os.link)
        own_text = text.replace(f"name: {name}\n", f"name: {other}\n")
        own_report = report | {"dataset": other, "recipe_sha256": parse_recipe(own_text).sha256}
        for file, content in (("recipe.yaml", own_text), ("report.json", json.dumps(own_report))):
            (data / other / file).unlink()  # a link to the one that is multiplied
            (data / other / file).write_text(content)
    return names
