"""What the project says of itself to others: version, licence, and the packages that it needs, pinned."""

import ast
import platform
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, distributions, packages_distributions, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import labeller
from tests.command import ROOT, distillery

METADATA = distribution("distillery").metadata
ELSEWHERE = {
    # of the gateway's page, of the services of molecules, and of whoever reads Zarr
    "distillery": {"jinja2", "markupsafe", "plotly", "rdkit", "zarr"},
    "services/mattergen": {"mattergen"},  # upstream's code, in no package index
}
"""What a part imports that those who use it name, or that can't be named."""
APART = {"mace", "mattersim", "nequip", "uma"}
"""Extras for an environment of their own: what these need and what others need exclude one another, or it is not for every Python."""
EXTRAS = METADATA.get_all("Provides-Extra")


def read_requirements(path: Path) -> list[Requirement]:
    return [Requirement(line) for line in path.read_text().splitlines() if line and not line.startswith("#")]


def find_needed(name: str, extras: set[str], found: dict[tuple[str, str], Requirement]) -> Iterator[str]:
    """The names of all that a distribution and these extras of it need here, and of what that needs."""
    for requirement in map(Requirement, distribution(name).requires or ()):
        if requirement.marker is not None and not any(requirement.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
            continue
        key = (canonicalize_name(requirement.name), ",".join(sorted(requirement.extras)))
        if key not in found:
            found[key] = requirement
            yield key[0]
            yield from find_needed(requirement.name, set(requirement.extras), found)


def find_imported(folder: Path) -> set[str]:
    """The installed distributions that a folder's modules import, at their top or inside functions, by their canonical names."""
    owners = packages_distributions()
    nodes = [node for path in sorted(folder.rglob("*.py")) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    modules = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    modules |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    names = {owner for module in modules for owner in owners.get(module.partition(".")[0], ())}
    names -= {"ruamel.yaml.clib", "distillery"}  # the first shares its package with ruamel.yaml
    return set(map(canonicalize_name, names))


PARTS = ["distillery", "gateway", "labeller", *(f"services/{path.parent.name}" for path in sorted(ROOT.glob("services/*/__init__.py")))]


@pytest.mark.parametrize("part", PARTS)
def test_what_a_part_imports_it_names_among_what_it_needs(part: str) -> None:
    """An image holds what the requirements of its part and of `distillery` name: what only another part names is missing there."""
    folders = (ROOT / "distillery", ROOT / part)
    named = {one.name for folder in folders for path in folder.rglob("requirements.txt") for one in read_requirements(path)}
    installed = {canonicalize_name(one.name): one for one in distributions()}
    there = [installed[name] for name in set(map(canonicalize_name, named)) & installed.keys()]
    needed = [Requirement(text) for one in there for text in one.requires or ()]
    named |= {one.name for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})}
    assert find_imported(ROOT / part) - set(map(canonicalize_name, named)) <= ELSEWHERE.get(part, set())


def test_the_command_says_its_version(tmp_path: Path) -> None:
    done = distillery("--version", cwd=tmp_path)
    assert (done.returncode, done.output) == (0, f"distillery {version('distillery')} (Python {platform.python_version()})\n")


def test_help_still_begins_with_what_distillery_is(tmp_path: Path) -> None:
    done = distillery("--help", cwd=tmp_path)
    assert "makes labelled datasets for force-field distillation" in " ".join(done.output.split())
    assert "--version" in done.output


def test_the_licence_travels_with_the_package() -> None:
    assert METADATA["License-Expression"] == "MIT"
    assert METADATA.get_all("License-File") == ["LICENSE"]
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")


def test_citation_and_labeller_name_the_version_of_the_package() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == labeller.VERSION == version("distillery")
    assert citation["license"] == METADATA["License-Expression"]


def test_the_pythons_that_are_tested_are_those_that_are_named() -> None:
    named = re.findall(r"Python :: (3\.\d+)", " ".join(METADATA.get_all("Classifier")))
    assert f'SUPPORTED = ("{named[0]}", "{named[1]}", "{named[2]}")' in (ROOT / "scripts" / "test_pythons.py").read_text()
    assert f"{sys.version_info[0]}.{sys.version_info[1]}" in named


def test_the_quickstarts_teacher_needs_a_part_of_what_the_labeller_needs() -> None:
    small, whole = (
        set(map(str, read_requirements(ROOT / "labeller" / name))) for name in ("extras/7net/requirements.txt", "requirements.txt")
    )
    assert small < whole


def test_every_package_that_this_python_needs_is_pinned_and_installed_as_pinned() -> None:
    pins = {
        canonicalize_name(pin.name): Version(str(pin.specifier).removeprefix("=="))
        for pin in read_requirements(ROOT / "constraints.txt")
        if pin.marker is None or pin.marker.evaluate()
    }
    wrong = []
    for name in find_needed("distillery", set(EXTRAS) - APART, {}):
        try:
            installed = Version(version(name)).public
        except PackageNotFoundError:
            installed = "not installed"
        if str(pins.get(name)) != installed and name != "setuptools":
            wrong.append(f"{name} is pinned to {pins.get(name)}, it is {installed}")
    assert wrong == []


@pytest.mark.parametrize("extra", [*EXTRAS])
def test_every_extra_names_what_it_is_of(extra: str) -> None:
    """A service, a teacher, or one of these."""
    folders = [ROOT / "services" / extra, ROOT / "labeller" / "extras" / extra, ROOT / "distillery" / extra]
    assert extra in {"7net", "labeller", "training", "test"} or any((folder / "requirements.txt").is_file() for folder in folders)
