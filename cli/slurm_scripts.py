"""The sbatch scripts of `distillery slurm`: plain text that a person can read, edit and submit again."""

import hashlib
import os
import secrets
import shlex
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from distillery.dataset.output_file import refuse_record
from distillery.errors import InvalidRequest
from distillery.generators.plugins import find_folder
from distillery.runtime.atomic_files import follow, name_kind, require_text, write_text_whole

if TYPE_CHECKING:
    from distillery.recipe.recipe import Recipe

_GATEWAY_CPUS, _GATEWAY_MEMORY = 2, "4G"


@dataclass(frozen=True)
class Resources:
    """What the jobs ask of Slurm, in its own words; see `distillery slurm --help`."""

    time: str
    partition: str | None
    account: str | None
    cpus: int
    memory: str
    gpus: int


def write_scripts(
    folder: Path,
    recipe: Path,
    data: Path,
    parsed: "Recipe",
    counts: dict[str, int],
    resources: Resources,
    images: Path | None,
    *,
    overwrite: bool = False,
) -> None:
    """Write settings.sh, a script a job, submit.sh, stop.sh and, unless it is there, the key; all paths are absolute.

    InvalidRequest, and nothing is written, if one is there that somebody edited, or that is none of these, unless `overwrite`; if one
    is the recipe; or if a script can't name the folders.
    """
    for path, wanted in ((folder, "--folder"), (recipe, "the recipe"), (data, "--data")):
        require_text(path, wanted)
    _require_folder(folder)
    scripts = {folder / name: text for name, text in _make_scripts(folder, recipe, data, parsed, counts, resources, images).items()}
    for path in scripts:
        _refuse_others(path, recipe, overwrite=overwrite)
    _refuse_other_key(folder / "key")
    (folder / "log").mkdir(parents=True, exist_ok=True)
    data.mkdir(parents=True, exist_ok=True)
    _make_key(folder / "key")
    for path, text in scripts.items():
        target = follow(path, "file")
        write_text_whole(target, text + _seal(text))
        target.chmod(0o700)


def _make_scripts(
    folder: Path, recipe: Path, data: Path, parsed: "Recipe", counts: dict[str, int], resources: Resources, images: Path | None
) -> dict[str, str]:
    """Their texts by their names."""
    places = {name: shlex.quote(str(path)) for name, path in {"folder": folder, "recipe": recipe, "data": data}.items()}
    common = {**places, "name": parsed.name, "log": str(folder / "log")}
    settings = _fill("settings.sh", {**common, "inputs": shlex.quote(str(recipe.parent)), "teacher": shlex.quote(parsed.teacher)})
    head = _describe(resources, _GATEWAY_CPUS, _GATEWAY_MEMORY, 0)
    scripts = {
        "settings.sh": settings + _list_weights(counts, data.parent / "weights"),
        "gateway.sh": _fill("gateway.sh", {**common, "head": head, "distillery": _command("gateway", images, data, folder)}),
    }
    for name in counts:
        gpus = resources.gpus if name == "labeller" or _has_weights(name) else 0
        head, command = _describe(resources, resources.cpus, resources.memory, gpus), _command(name, images, data, folder)
        scripts[f"{name}.sh"] = _fill("replica.sh", {**common, "head": head, "replica": name, "distillery": command})
    lines = [f'submit "$@" --array=0-{n - 1} {name}.sh' for name, n in counts.items()]
    scripts["submit.sh"] = _fill("submit.sh", {**common, "replicas": "\n".join(lines)})
    scripts["stop.sh"] = _fill("stop.sh", common)
    return scripts


_SEAL = "# as written by distillery slurm: "


def _seal(text: str) -> str:
    """The last line of a script, by which one that nobody edited is known."""
    return f"{_SEAL}{hashlib.sha256(text.encode()).hexdigest()[:16]}\n"


def _require_folder(folder: Path) -> None:
    refuse_record(folder, folder)
    if (found := next(place for place in (folder, *folder.parents) if place.exists())) and not found.is_dir():
        raise InvalidRequest(f"--folder must be a folder, and {found} is {name_kind(found)}; name another")


def _refuse_other_key(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise InvalidRequest(f"{path} should be the key, and is {name_kind(path)}; name another --folder")


def _refuse_others(path: Path, recipe: Path, *, overwrite: bool) -> None:
    if not path.exists():
        return
    if recipe.exists() and path.samefile(recipe):
        raise InvalidRequest(f"{path} should be a script, and is the recipe; name another --folder")
    if not path.is_file():
        raise InvalidRequest(f"{path} should be a script, and is none; name another --folder")
    text, seal, _ = path.read_text(encoding="utf-8", errors="replace").rpartition(_SEAL)
    if not overwrite and path.read_bytes() != (text + (_seal(text) if seal else "")).encode():
        raise InvalidRequest(
            f"{path} is there and is not as `distillery slurm` wrote it; {path.parent}/submit.sh submits what is there, --force writes it "
            "anew, and --folder names another place"
        )


def _make_key(path: Path) -> None:
    """A new key that only the user can read; the one that is there stays, for jobs that run have it."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        path.chmod(0o600)
        return
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(32) + "\n")


def _fill(name: str, values: dict[str, str]) -> str:
    return Template((files("cli") / "slurm_templates" / name).read_text(encoding="utf-8")).substitute(values)


def _describe(resources: Resources, cpus: int, memory: str, gpus: int) -> str:
    """The #SBATCH lines that options decide."""
    wanted = {
        "time": resources.time,
        "partition": resources.partition,
        "account": resources.account,
        "cpus-per-task": cpus,
        "mem": memory,
        "gpus-per-task": gpus or None,
    }
    return "\n".join(f"#SBATCH --{name}={value}" for name, value in wanted.items() if value is not None)


def _command(name: str, images: Path | None, data: Path, folder: Path) -> str:
    """How a job runs distillery: from the environment that this command runs in, or from an image."""
    if images is None:
        return shlex.join([sys.executable, "-m", "cli"])
    binds = ",".join(dict.fromkeys(map(str, (data, data.parent / "weights", folder))))
    return shlex.join(["apptainer", "exec", "--nv", "--bind", binds, str(images / f"distillery-{name}.sif"), "distillery"])


def _has_weights(service: str) -> bool:
    return (find_folder(service) / "weights.yaml").is_file()


def _list_weights(counts: dict[str, int], weights: Path) -> str:
    """Where labellers and models keep what they download, for all jobs together."""
    names = ["labeller", *(name for name in counts if name != "labeller" and _has_weights(name))]
    return "".join(f"export DISTILLERY_{name.upper()}_WEIGHTS={shlex.quote(str(weights))}\n" for name in names)
