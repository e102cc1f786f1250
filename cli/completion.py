"""What the shell offers where a dataset or a recipe is wanted; nothing of the project is imported for it."""

from pathlib import Path

_DATA = Path("data")


def complete_dataset(incomplete: str) -> list[str]:
    """The datasets in ./data that begin so."""
    return sorted(path.parent.name for path in _DATA.glob("[!.]*/recipe.yaml") if path.parent.name.startswith(incomplete))


def complete_recipe(incomplete: str) -> list[str]:
    """The YAML files and folders that begin so."""
    before, _, last = incomplete.rpartition("/")
    folder = Path(before) if before else Path("/") if incomplete.startswith("/") else Path()
    found = [path for path in folder.glob(f"{last}*") if path.suffix in {".yaml", ".yml"} or path.is_dir()]
    return sorted(f"{path}/" if path.is_dir() else str(path) for path in found)
