"""The documents: recipes in them are valid, commands exist, links lead somewhere, and every page is in the index."""

import re
import shlex
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from pydantic import ValidationError

from cli.main import app
from distillery.generators.plugins import build_generator, list_services
from distillery.planning.gates import RULES
from distillery.recipe.reading import parse_recipe
from distillery.recipe.recipe import Recipe
from distillery.recipe.source import Source
from tests.command import ROOT

RECORDS = {"docs/changelog.md", "docs/decisions.md"}
"""They tell of what was; all others of what is."""
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "labeller" / "README.md", *DOCS, *sorted(ROOT.glob("services/*/README.md"))]
CURRENT = [page for page in PAGES if page.relative_to(ROOT).as_posix() not in RECORDS]
LONGEST_LINE = 120
BASE = """
name: base
seed: 1
teacher: 7net-0
sources:
  crystals: {service: pymatgen, system: crystal, count: 60000}
  generated: {service: mattergen, system: crystal, count: 60000, generative: true}
"""


@dataclass(frozen=True)
class Block:
    """A block of a page and the line that it begins on."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def list_blocks(*languages: str) -> list[Block]:
    return [block for page in CURRENT for block in read_blocks(page) if block.language in languages]


def read_blocks(page: Path) -> list[Block]:
    text = page.read_text()
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [Block(page, text[: match.start()].count("\n") + 2, match[1], match[2]) for match in found]


@cache
def read_prose(page: Path) -> str:
    """The page without its blocks, their lines empty."""
    return re.sub(r"^```.*?^```$", lambda match: "\n" * match[0].count("\n"), page.read_text(), flags=re.DOTALL | re.MULTILINE)


@cache
def list_anchors(page: Path) -> list[str]:
    """The anchors that headings get: lower case, words joined by dashes, no punctuation."""
    headings = re.findall(r"^#+ (.*)$", read_prose(page), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def find_local_links(page: Path) -> list[str]:
    return [target for target in re.findall(r"\]\(([^)]+)\)", read_prose(page)) if "://" not in target]


def complete(fragment: dict[str, Any]) -> Recipe:
    return parse_recipe(yaml.safe_dump(yaml.safe_load(BASE) | fragment, sort_keys=False))


def is_compose_file(content: dict[str, Any]) -> bool:
    return "services" in content


RECIPES = [block for block in list_blocks("yaml") if not is_compose_file(yaml.safe_load(block.text))]


@pytest.mark.parametrize("block", RECIPES, ids=str)
def test_every_recipe_of_the_documents_is_valid(block: Block) -> None:
    """A whole one as it is, some keys of one beside those that they need."""
    content = yaml.safe_load(block.text)
    recipe = parse_recipe(block.text) if {"name", "seed", "teacher", "sources"} <= content.keys() else complete(content)
    for name in content.get("sources", {}):
        require_valid_options(recipe.sources[name])


def require_valid_options(source: Source) -> None:
    if source.service != "alloys":  # of docs/extend.md, which has a test of its own
        build_generator(source.service).options[source.system].model_validate(source.options)


def test_the_recipes_of_the_readme_and_of_stages_make_what_they_say() -> None:
    (readme,) = [block for block in RECIPES if block.page.name == "README.md" and block.page.parent == ROOT]
    assert parse_recipe(readme.text).size == 200
    staged = complete(yaml.safe_load(next(block.text for block in RECIPES if block.text.startswith("stages:"))))
    assert staged.stage_names == ("pilot", "test", "full")
    assert staged.fractions == (0.7, 0.5, 0.3)


def test_a_recipe_with_a_wrong_option_is_found() -> None:
    source = complete({"sources": {"a": {"service": "rdkit", "system": "molecule", "count": 1, "options": {"conformer": 2}}}}).sources["a"]
    with pytest.raises(ValidationError, match="conformer"):
        require_valid_options(source)


def test_the_documents_tell_the_defaults() -> None:
    (limits,) = [block for block in read_blocks(ROOT / "docs" / "physics.md") if block.text.startswith("limits:")]
    assert complete(yaml.safe_load(limits.text)) == complete({})


@pytest.mark.parametrize(("page", "model"), [("recipes.md", Recipe), ("recipes.md", Source)])
def test_every_key_is_explained(page: str, model: type[Recipe | Source]) -> None:
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / page).read_text(), re.MULTILINE)
    assert set(model.model_fields) <= set(re.findall(r"`(\w+)`", " ".join(rows)))


def test_every_gate_has_its_row_and_every_required_one_its_remedy() -> None:
    gates, remedies = (ROOT / "docs" / "gates.md").read_text().split("## What to do about a NO-GO")
    assert set(re.findall(r"^\| `(\w+)` \|", gates, re.MULTILINE)) == set(RULES)
    named = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?) \|", remedies, re.MULTILINE))))
    assert {name for name, rule in RULES.items() if rule.required} <= named


def test_the_readme_counts_gates_and_services_as_they_are() -> None:
    text = " ".join((ROOT / "README.md").read_text().split())
    words = {11: "eleven", 12: "twelve", 13: "thirteen", 18: "eighteen", 19: "nineteen", 20: "twenty", 21: "twenty-one"}
    assert f"{words[len(RULES)]} gates say" in text
    assert f"{words[len(list_services())].capitalize()} services make structures" in text


LINES = [line for block in list_blocks("sh", "console") for line in block.text.splitlines()]
COMMANDS = sorted({re.sub(r"\[.*?\]|[#>].*", "", line).strip() for line in LINES if re.match(r"distillery \w", line)})


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_of_the_documents_exists_with_its_options(line: str) -> None:
    words = shlex.split(line)
    command: Any = typer.main.get_command(app)
    context = command.make_context(words[0], words[1:])
    while hasattr(command, "resolve_command"):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)
    assert context.args == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in find_local_links(page):
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{link}: there is no {path}"
        assert not anchor or anchor in list_anchors(path), f"{link}: {path.name} has the headings {list_anchors(path)}"


@pytest.mark.parametrize("page", CURRENT, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_file_of_this_repository_that_is_named_exists(page: Path) -> None:
    named = re.findall(r"[\w./-]+/[\w.-]+\.(?:py|md|yaml|sh)\b", re.sub(r"https?://\S+", "", read_prose(page)))
    for name in named:
        if name.split("/")[0] in {"cli", "distillery", "docker", "docs", "gateway", "labeller", "recipes", "services", "tests"}:
            assert (ROOT / name).exists() or (page.parent / name).exists(), name


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_every_page_is_in_the_index(page: Path) -> None:
    links = {link.partition("#")[0] for link in find_local_links(ROOT / "docs" / "README.md")}
    assert page.name in links | {"README.md"}
    assert "docs/README.md" in find_local_links(ROOT / "README.md")


@pytest.mark.parametrize("page", CURRENT, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_lines_of_prose_are_short(page: Path) -> None:
    long = [line for line in read_prose(page).splitlines() if len(line) > LONGEST_LINE and not line.startswith(("|", "    "))]
    assert long == []


@pytest.mark.parametrize("page", sorted(RECORDS))
def test_nothing_is_recorded_twice(page: str) -> None:
    entries = Counter(" ".join(entry.split()) for entry in re.split(r"(?m)^(?:- |(?=\*\*20))", (ROOT / page).read_text()))
    assert [entry for entry, times in entries.items() if times > 1] == []
