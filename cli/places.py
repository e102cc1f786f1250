"""Where a dataset is that a command was given: by its name, its folder or its dataset.h5."""

from pathlib import Path

from distillery.errors import InvalidRequest, NotFound

_HOW = "`distillery status` lists datasets"


def find_folder(given: Path, data: Path) -> Path:
    """The folder of a dataset, finished or not; NotFound says where it was looked for."""
    from distillery.dataset.folder import DATASET, RECIPE

    places = (given.parent,) if given.name == DATASET else (given, data / given)
    for folder in places:
        if (folder / RECIPE).is_file():
            return folder
    if (derived := find_derived(given, data)) is not None:
        raise InvalidRequest(
            f"{derived} was made of other datasets: it has no recipe and no parts; `distillery report` judges what its file can be judged "
            "by, `distillery verify` checks it, `distillery recipe` says what it was made of"
        )
    raise NotFound(f"there is no dataset {str(given)!r}: {' and '.join(map(str, places))} {_say_have(places)} no {RECIPE}; {_HOW}")


def find_derived(given: Path, data: Path) -> Path | None:
    """The file of a dataset that was made of others, given by itself or by its folder; None if it is none."""
    from distillery.dataset.folder import DATASET

    places = (given, given / DATASET, data / given / DATASET)
    return next((path for path in places if path.is_file() and is_derived_file(path)), None)


def is_derived_file(path: Path) -> bool:
    """Whether a file is a dataset that was made of others."""
    import h5py

    from distillery.dataset.derivation import is_derived

    try:
        with h5py.File(path, "r") as file:
            return is_derived(file)
    except (OSError, RuntimeError):  # RuntimeError: HDF5, of damage
        return False


def find_file(given: Path, data: Path) -> Path:
    """A dataset's file, which need not be called dataset.h5; NotFound says where it was looked for, or that it is not made yet."""
    from distillery.dataset.folder import DATASET, RECIPE

    if given.is_file():
        return given
    for folder in (given, data / given):
        if (folder / DATASET).is_file():
            return folder / DATASET
        if (folder / RECIPE).is_file():
            raise NotFound(f"{folder} has no {DATASET} yet: the dataset is not finished; `distillery run {folder / RECIPE}` goes on")
    raise NotFound(f"there is no file or dataset {str(given)!r}, neither here nor in {data}; {_HOW}")


def _say_have(places: tuple[Path, ...]) -> str:
    return "have" if len(places) > 1 else "has"


def require_writable(folder: Path) -> None:
    """InvalidRequest if a folder can't be written to, or can't be made; tried by a file without a name, so that nothing is left."""
    import tempfile

    nearest = next(place for place in (folder, *folder.resolve().parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        said = f"nothing can be written to {nearest} ({error.strerror})"
        raise InvalidRequest(f"{said}; make it writable, or name another with --data") from error
