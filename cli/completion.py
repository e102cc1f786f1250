"""What the shell offers for an argument or option; what it is made of is imported when it is asked for."""

from collections.abc import Iterable
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


def complete_service(incomplete: str) -> list[str]:
    """The services that are installed here."""
    from distillery.generators.plugins import list_services

    return _that_begin(incomplete, list_services())


def complete_process(incomplete: str) -> list[str]:
    """What `distillery serve` can start."""
    return _that_begin(incomplete, ["gateway", "labeller", *complete_service("")])


def complete_teacher(incomplete: str) -> list[str]:
    """The teachers that are installed here; of an open family the beginning of its names."""
    from labeller.teachers import list_teachers

    return _that_begin(incomplete, [name.removesuffix("…") for name in list_teachers()])


def complete_stage(incomplete: str) -> list[str]:
    """The stages that a recipe can have."""
    return _that_begin(incomplete, ["pilot", "test", "full"])


def complete_side(incomplete: str) -> list[str]:
    """The sides of a split, and all of them."""
    return _that_begin(incomplete, ["train", "val", "test", "all"])


def complete_system(incomplete: str) -> list[str]:
    """The kinds of structures."""
    from distillery.structures.elements import SYSTEMS

    return _that_begin(incomplete, SYSTEMS)


def complete_target(incomplete: str) -> list[str]:
    """What an export can be for."""
    from distillery.export.formats import FORMATS
    from distillery.export.trainer_formats import TRAINER_FORMATS

    return _that_begin(incomplete, [*TRAINER_FORMATS, *FORMATS])


def _that_begin(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
