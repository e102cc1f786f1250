"""The page and verdict of datasets made of datasets: what a file can be judged by, and what is said not to be."""

import re
from pathlib import Path

import h5py
import pytest
from typer.testing import CliRunner

from cli.main import app
from distillery.dataset.layout import open_dataset
from distillery.dataset.selection import Selection
from distillery.dataset.splits import split_dataset
from distillery.derive.filter import filter_dataset
from distillery.derive.merge import merge_datasets
from distillery.errors import InvalidRequest
from distillery.planning.gates import RULES
from distillery.report.derived import NOT_JUDGED, find_runs, judge_derived, name_verdict, read_derived, restate
from distillery.report.page.derived_page import write_derived_page
from tests.dataset_folder import RECIPE, write_finished

OTHER = RECIPE.replace("name: pictured", "name: other").replace("seed: 3", "seed: 4")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two datasets of one teacher, their merge, and one of them filtered; tests leave them as they are."""
    folder = tmp_path_factory.mktemp("data")
    write_finished(folder / "pictured")
    write_finished(folder / "other", OTHER)
    files = [folder / name / "dataset.h5" for name in ("pictured", "other")]
    merge_datasets(files, folder / "both.h5")
    filter_dataset(files[0], folder / "molecules.h5", Selection(sources=("molecules",)))
    return folder


def find_failed(path: Path) -> set[str]:
    return {v.gate for v in judge_derived(path) if v.required and not v.passed}


def test_it_is_never_go_and_what_is_not_judged_is_named(made: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["report", str(made / "molecules.h5"), "--out", str(tmp_path / "page.html")])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("PARTLY JUDGED  ")
    assert "not judged: completeness, teacher success, generation seconds, sound labels, teacher physics" in done.output
    html = (tmp_path / "page.html").read_text()
    text = re.sub(r"<[^>]+>", " ", html[: html.index("<script>")])
    assert "No required gate that its file can be judged by has failed. 5 can't be judged" in text
    assert "distillery filter pictured --source molecules --out molecules.h5" in text
    assert all(why in text for why in NOT_JUDGED.values())
    assert "All required gates are passed" not in text


def test_every_gate_is_judged_or_said_not_to_be(made: Path) -> None:
    judged = {verdict.gate for verdict in judge_derived(made / "both.h5")}
    assert judged | set(NOT_JUDGED) >= RULES.keys() - {"environment_diversity"}
    assert not judged & set(NOT_JUDGED)


def test_a_broken_label_is_no_go(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "broken.h5"
    path.write_bytes((made / "both.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        file["labels/forces"][5] = [0.0, 0.0, 1000.0]
    assert find_failed(path) - find_failed(made / "both.h5") == {"largest_force"}
    done = CliRunner().invoke(app, ["report", str(path)])
    assert done.exit_code == 3
    assert "NO-GO" in done.output
    assert "failed: largest force (all): 1,000, wanted ≤ 50" in done.output
    assert (tmp_path / "broken-report.html").is_file()


def test_structures_that_come_twice_are_counted(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "twice.h5"
    path.write_bytes((made / "both.h5").read_bytes())
    assert "duplicates" not in find_failed(path)
    with h5py.File(path, "r+") as file:
        file["provenance/structure_hash"][1:6] = file["provenance/structure_hash"][0]
    assert "duplicates" in find_failed(path)


def test_elements_of_the_recipes_must_occur_after_a_merge_and_may_be_filtered_away(made: Path) -> None:
    for name, is_required in (("both", True), ("molecules", False)):
        (coverage,) = [v for v in judge_derived(made / f"{name}.h5") if v.gate == "element_coverage"]
        assert coverage.required == is_required
    with open_dataset(made / "molecules.h5") as file:
        found = restate("m", read_derived(made / "molecules.h5"), "t", find_runs(file))
    assert set(found.elements) > set(read_derived(made / "molecules.h5").elements)


def test_the_sides_on_the_page_are_those_of_the_split(made: Path, tmp_path: Path) -> None:
    write_derived_page(made / "both.h5", tmp_path / "page.html")
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", (tmp_path / "page.html").read_text()))
    for side, rows in split_dataset(made / "both.h5").indices.items():
        assert re.search(rf" {side} \d+ % {len(rows)} ", text), side


def test_the_page_of_a_file_comes_out_again(made: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_derived_page(made / "both.h5", tmp_path / f"{name}.html", 3)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_a_verdict_without_a_failure_is_no_go_ahead(made: Path) -> None:
    assert name_verdict([]) == "PARTLY JUDGED"
    with pytest.raises(InvalidRequest, match="was not made by merge, filter or select"):
        judge_derived(made / "pictured" / "dataset.h5")
