"""The house: who may import whom, and how little a training script needs to read, split, export and verify a dataset."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import h5py
import pytest
from ase.db import connect
from ase.io import read
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import distillery
from tests.command import ROOT, Finished

PACKAGES = ("cli", "distillery", "gateway", "labeller", "services")
FLOORS = [
    "errors",
    "runtime",
    "telemetry",
    "structures",
    "schema",
    "dataset",
    "http",
    "weights",
    "recipe",
    "generators",
    "planning",
    "report",
    "verify",
    "assess",
    "derive",
    "export",
]
"""The folders of the library; each imports only those before it."""


def name_module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_module(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


@cache
def imports_of(module: str) -> frozenset[str]:
    """The modules of this project that one imports, anywhere in it: at the top, in a function, for its types alone."""
    return frozenset(name for name in _read_imports(MODULES[module]) if name in MODULES and name != module)


def _read_imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else str(node.module)


ARROWS = [(module, wanted) for module in MODULES for wanted in sorted(imports_of(module))]


def room_of(module: str) -> str:
    """`gateway`, `labeller`, `services.rdkit`, `distillery` …"""
    return ".".join(module.split(".")[:2]) if module.startswith("services.") else module.partition(".")[0]


def is_training_script(module: str) -> bool:
    """Those that made a service's small checkpoint, of other services' structures; nothing imports them but a person's command."""
    return bool(re.fullmatch(r"services\.\w+\.small\.\w+", module))


def floor_of(module: str) -> int:
    return FLOORS.index(module.split(".")[1])


def test_every_folder_of_the_library_has_its_floor() -> None:
    assert {module.split(".")[1] for module in MODULES if module.startswith("distillery.")} == set(FLOORS)


def test_gateway_labeller_and_every_service_import_the_library_and_themselves_alone() -> None:
    wrong = [
        f"{module} imports {wanted}"
        for module, wanted in ARROWS
        if not module.startswith(("cli", "distillery"))
        and not is_training_script(module)
        and room_of(wanted) not in {room_of(module), "distillery"}
    ]
    assert wrong == []


def test_the_library_imports_nothing_of_what_is_built_on_it() -> None:
    assert [f"{m} imports {w}" for m, w in ARROWS if m.startswith("distillery") and not w.startswith("distillery.")] == []


def test_inside_the_library_imports_lead_downwards() -> None:
    inside = [(m, w) for m, w in ARROWS if m.startswith("distillery.") and w.startswith("distillery.")]
    assert [f"{m} imports {w}" for m, w in inside if floor_of(w) > floor_of(m)] == []


def test_only_a_command_imports_the_command() -> None:
    assert [f"{m} imports {w}" for m, w in ARROWS if room_of(w) == "cli" and room_of(m) != "cli"] == []


def test_nothing_imports_the_training_scripts_but_they_themselves() -> None:
    assert [f"{m} imports {w}" for m, w in ARROWS if is_training_script(w) and not is_training_script(m)] == []


def test_there_is_no_circle() -> None:
    TopologicalSorter({module: imports_of(module) for module in MODULES}).prepare()  # CycleError names it


# What is needed to work with a dataset that is there.

READ_NEEDS = ("h5py", "numpy", "ase")
YAML_READERS = {"pyyaml", "ruamel.yaml"} & set((ROOT / "distillery" / "requirements.txt").read_text().split())
VERIFY_NEEDS = (*READ_NEEDS, "pydantic", "vesin", *YAML_READERS)

ONLY = """
import sys

class OnlyThese:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"{{name}} is blocked", name=name)

sys.meta_path.insert(0, OnlyThese())
"""
READ = """
from pathlib import Path

import distillery

path = Path(sys.argv[1])
structures = list(distillery.read_dataset(path))
split = distillery.split_dataset(path, seed=0)
assert sum(len(indices) for indices in split.indices.values()) == len(structures)
distillery.export_extxyz(path, Path("train.extxyz"), mace_keys=False, indices=split.indices["train"])
distillery.export_ase_db(path, Path("all.db"))
"""
VERIFY = """
from pathlib import Path

import distillery

for check in distillery.verify_dataset(Path(sys.argv[1])):
    print(check.name, check.passed)
"""


def close_requirements(names: tuple[str, ...]) -> set[str]:
    """The distributions of these names and all that they need, and those these need."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        found.add(name)
        needed = map(Requirement, distribution(name).requires or ())
        waiting += [one.name for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    return found


def run_with_only(names: tuple[str, ...], script: str, dataset: Path, folder: Path) -> str:
    """Run a script in a process that finds these packages, what they need and no others; what it printed."""
    allowed = close_requirements(names) | {"distillery"}
    blocked = {module for module, owners in packages_distributions().items() if not allowed & set(map(canonicalize_name, owners))}
    assert {"fastapi", "starlette", "uvicorn", "httpx", "torch", "rdkit", "typer", "rich", "pyarrow", "plotly"} <= blocked
    code = ONLY.format(blocked=blocked) + script
    done = subprocess.run([sys.executable, "-c", code, str(dataset)], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_reading_splitting_and_exporting_need_h5py_numpy_and_ase_alone(quickstart: Finished, tmp_path: Path) -> None:
    run_with_only(READ_NEEDS, READ, quickstart.dataset, tmp_path)
    with connect(tmp_path / "all.db") as database, h5py.File(quickstart.dataset) as file:
        assert len(database) == len(file["labels/energy"]) > len(read(tmp_path / "train.extxyz", ":")) > 0


def test_verifying_needs_pydantic_vesin_and_a_yaml_reader_beside_them(quickstart: Finished, tmp_path: Path) -> None:
    said = run_with_only(VERIFY_NEEDS, VERIFY, quickstart.dataset, tmp_path)
    checks = dict(line.rsplit(maxsplit=1) for line in said.splitlines())
    assert {"bytes", "hashes", "gates", "report"} <= checks.keys()
    assert set(checks.values()) == {"True"}


# The library's front door.


def test_importing_the_library_imports_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import distillery; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert [name for name in done.stdout.split() if name.partition(".")[0] not in sys.stdlib_module_names] == ["distillery"]


@pytest.mark.parametrize("name", distillery.__all__)
def test_every_name_of_the_library_is_there_and_documented(name: str) -> None:
    assert getattr(distillery, name).__doc__


def test_the_names_that_types_are_checked_with_are_those_that_are_imported() -> None:
    tree = ast.parse((ROOT / "distillery" / "__init__.py").read_text())
    checked = {alias.name: node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    for name in distillery.__all__:
        assert getattr(distillery, name).__module__ == checked[name]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="read_datasets"):
        distillery.read_datasets  # noqa: B018
