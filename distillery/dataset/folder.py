"""A dataset's folder: the name of every file in it, and of its parts."""

import re
from pathlib import Path

from distillery.errors import Conflict, InvalidRequest
from distillery.runtime.atomic_files import TEMPORARY, is_own_temporary

RECIPE = "recipe.yaml"
"""What the dataset is made from, as it was handed in."""
TARGET = "state.json"
"""How far it is wanted, and whether it is to run, pause or stop (`distillery.recipe.target`)."""
LAST_STATUS = ".status.json"
"""What whoever makes the dataset said of it last (`gateway.last_status`)."""
CHECKPOINTS = "checkpoints.json"
"""What the gates said so far, while there is no report."""
REPORT = "report.json"
PAGE = "report.html"
DATASET = "dataset.h5"
ASSESSMENT = "assess.json"
"""What a student learnt from it (`distillery assess`), where it was asked."""
DISAGREEMENT = "disagreement.json"
"""How far the teacher's labels are from those that its structures had before (`distillery relabel`)."""
CARD, CROISSANT = "README.md", "croissant.json"
"""The dataset's card, for people and for programs."""
PARTS = "parts"
"""The folder of the parts, one file a shard."""


def refuse_foreign(dataset_folder: Path) -> None:
    """Conflict if a dataset would be begun in a folder that holds anything else: files of the user's, or a dataset without its recipe.

    What a dataset hides and its state, which come before the recipe, may be there, and a folder for parts that has none.
    """
    if (dataset_folder / RECIPE).is_file() or not dataset_folder.is_dir():
        return
    own = {TARGET, *([] if list_parts(dataset_folder) else [PARTS])}
    if foreign := sorted(path.name for path in dataset_folder.iterdir() if path.name not in own and not path.name.startswith(".")):
        named = ", ".join(foreign[:_NAMED]) + (", …" if len(foreign) > _NAMED else "")
        raise Conflict(
            f"{dataset_folder} is no dataset's folder: it holds {named} and no {RECIPE}, and nothing there is written over; "
            "give the dataset another name, or move that away"
        )


_NAMED = 5


def name_dataset(path: Path) -> str:
    """The name of a dataset: of its folder for the dataset.h5 that a run writes, else of its file."""
    return path.resolve().parent.name if path.name == DATASET else path.stem


def part_path(dataset_folder: Path, part: str) -> Path:
    """Where a part lies."""
    return dataset_folder / PARTS / f"{part}.h5"


def list_parts(dataset_folder: Path) -> list[str]:
    """The names of all finished parts, sorted; what else lies there is none. InvalidRequest if a file lies where their folder should."""
    parts = dataset_folder / PARTS
    if parts.is_file():
        raise InvalidRequest(f"{parts} is a file, where the folder of the parts should be: move it away")
    return sorted(path.stem for path in parts.glob("[!.]*.h5") if _PART.fullmatch(path.stem))


def require_parts(dataset_folder: Path) -> None:
    """InvalidRequest if a dataset was merged and its parts are gone, which are what is told of it."""
    if (dataset_folder / DATASET).exists() and not list_parts(dataset_folder):
        raise InvalidRequest(
            f"{dataset_folder} has a {DATASET}, but no parts, of which its page is made: put {PARTS} back, or see the {PAGE} of before"
        )


_PART = re.compile(r"[^-]+-[^-]+(-via-[^-]+)?-\d{5,}", re.ASCII)
"""What `name_part` makes; names of stages and sources have no dash."""


def name_stem(stage: str, source: str, maker: str) -> str:
    """What the names of a source's shards in a stage begin with: `<stage>-<source>`, `…-via-<maker>` where its fallback makes them."""
    return f"{stage}-{source}" if maker == source else f"{stage}-{source}-via-{maker}"


def name_part(stem: str, index: int) -> str:
    """The name of a shard and of the part that it becomes: `<stem>-<index>`."""
    return f"{stem}-{index:05d}"


def split_part_name(part: str) -> tuple[str, str, str]:
    """Stage, source and stem of a part's name; names of stages and sources have no dash."""
    stem = part.rpartition("-")[0]
    stage, source = part.split("-")[:2]
    return stage, source, stem


def remove_unfinished_parts(dataset_folder: Path) -> None:
    """Remove what killed writers left of parts and of dataset.h5. Call it only when nobody writes those."""
    _remove([*dataset_folder.glob(f".{DATASET}.*{TEMPORARY}"), *(dataset_folder / PARTS).glob(f".*{TEMPORARY}")])


def remove_unfinished_files(dataset_folder: Path) -> None:
    """Remove what killed writers left of the small files beside them; only the process that holds the folder's lock may.

    What has a name of this process may be in use: a request to pause comes at any time.
    """
    found = [path for path in dataset_folder.glob(f".*{TEMPORARY}") if not path.name.startswith(f".{DATASET}.")]
    _remove([path for path in found if not is_own_temporary(path)])


def _remove(leftovers: list[Path]) -> None:
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)
