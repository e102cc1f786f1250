"""Services of other packages, found by entry points: what is wrong with one is told, and keeps no other from its work."""

from collections.abc import Callable
from pathlib import Path

import pytest

from distillery.errors import NotFound, Unavailable
from distillery.generators.plugins import GROUP, build_generator, list_services
from tests.command import distillery_here

MODULE = """
import sys
from tests.fake_service import FakeGenerator

def fine(): return FakeGenerator("fine")
def other(): return FakeGenerator("another")
def nothing(): return None
def wants(argument): return FakeGenerator("wants")
def raises(): raise ValueError("the licence has expired")
def leaves(): sys.exit(3)
"""
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Makes a package whose entry points have these names and values."""

    def make(**entries: str) -> None:
        info = tmp_path / "foreign-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *(f"{name} = {value}" for name, value in entries.items()), ""]))
        (tmp_path / "foreign.py").write_text(MODULE)
        (tmp_path / "foreign_angry.py").write_text("raise RuntimeError('expired licence')")
        monkeypatch.syspath_prepend(str(tmp_path))

    return make


def test_a_service_of_another_package_is_built_by_its_name(install: Install) -> None:
    install(fine="foreign:fine")
    assert build_generator("fine").metadata.service == "fine"
    with pytest.raises(NotFound, match="did you mean 'fine'"):
        build_generator("fin")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("foreign_angry:build", "RuntimeError: expired licence"),
        ("foreign:gone", "AttributeError: module 'foreign' has no attribute 'gone'"),
        ("foreign:raises", "ValueError: the licence has expired"),
        ("foreign:leaves", "SystemExit: 3"),
        ("foreign:wants", "TypeError: wants.. missing 1 required positional argument"),
        ("foreign:nothing", "TypeError: it made NoneType, which has no `metadata` or no `generate`"),
        ("foreign:other", "TypeError: its metadata says service='another', its entry point 'bad'"),
    ],
)
def test_what_is_wrong_with_one_is_told_with_its_package(install: Install, value: str, said: str) -> None:
    install(bad=value)
    with pytest.raises(Unavailable, match=f"bad can't be used: {value} fails with {said}.*mend its package, foreign, or uninstall it"):
        build_generator("bad")


def test_a_name_that_two_packages_have_is_refused(install: Install) -> None:
    install(rdkit="foreign:fine")
    assert list_services().count("rdkit") == 1
    with pytest.raises(Unavailable, match="service 'rdkit' is offered by distillery and foreign; uninstall all packages of these but one"):
        build_generator("rdkit")


def test_the_list_of_services_tells_of_a_broken_one_beside_the_others(install: Install, tmp_path: Path) -> None:
    install(bad="foreign_angry:build")
    done = distillery_here("services", cwd=tmp_path)
    assert done.returncode == 0, done.output
    assert "expired" in done.output  # a word, as the column is narrow
    assert "rdkit" in done.output
