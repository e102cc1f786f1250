"""The quickstart's dataset is verified from its file alone, some of it is made again, and its recipe is a recipe."""

import re
import shutil
from pathlib import Path

import pytest

from gateway.recipe import parse_recipe, read_recipe
from tests.integration.conftest import ROOT, Finished, distillery


@pytest.fixture(scope="module")
def alone(quickstart: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset without parts, recipe and report."""
    folder = tmp_path_factory.mktemp("alone")
    shutil.copy(quickstart.dataset, folder)
    return folder / "dataset.h5"


def test_the_quickstart_passes_and_a_shard_comes_out_the_same_again(alone: Path) -> None:
    done = distillery("verify", str(alone), "--regenerate", "1", "--seed", "4", cwd=alone.parent)
    assert done.returncode == 0, done.output
    assert "✗" not in done.output
    assert "✓ gates       GO" in done.output
    assert "structures bit by bit" in done.output
    assert "✓ versions" in done.output


def test_the_report_beside_it_says_the_same(quickstart: Finished) -> None:
    done = distillery("verify", str(quickstart.dataset), cwd=quickstart.folder)
    assert done.returncode == 0, done.output
    assert "✓ report" in done.output


def test_a_damaged_file_is_a_finding_and_no_file_is_an_error(alone: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "dataset.h5"
    content = bytearray(alone.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    assert distillery("verify", str(damaged), cwd=tmp_path).returncode == 3
    missing = distillery("verify", "nothing.h5", cwd=tmp_path)
    assert missing.returncode == 1
    assert "Traceback" not in missing.output


def test_the_printed_recipe_is_the_one_it_was_made_from(alone: Path) -> None:
    printed = distillery("recipe", str(alone), cwd=alone.parent)
    assert printed.returncode == 0, printed.output
    recipe, text = read_recipe(ROOT / "recipes" / "quickstart.yaml")
    assert printed.output.endswith(text)
    assert parse_recipe(printed.output).sha256 == recipe.sha256
    assert "sevenn==" in printed.output


def test_the_docs_python_runs(quickstart: Finished, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(quickstart.folder)
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "reproduce.md").read_text(), re.DOTALL)
    exec(compile(block, "reproduce.md", "exec"), {})
    assert capsys.readouterr().out.splitlines()[0].startswith("full-molecules-00000 ")
