"""The card of a dataset: README.md and croissant.json, from the file alone."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from distillery.errors import InvalidRequest
from distillery.report.card.facts import read_facts
from distillery.report.card.readme import find_size, write_card
from distillery.report.card.usage import cite_dataset, describe_loading
from tests.command import Finished
from tests.datasets import write_dataset
from tests.labelling import mixed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A dataset without receipts, as an older program or another one writes it."""
    path = tmp_path / "other.h5"
    write_dataset(path, mixed("t", 9))
    return path


def test_what_a_file_does_not_record_is_said_to_be_missing(path: Path) -> None:
    write_card(path)
    text = path.with_name("README.md").read_text()
    assert "| labels: the teacher | not recorded |" in text
    assert "| tests | 9 | molecule, crystal | not recorded |" in text
    assert "No verdict" in text


def test_the_card_of_a_run_tells_its_verdict_licences_and_recipe(quickstart: Finished) -> None:
    text = (quickstart.dataset.parent / "README.md").read_text()
    assert "**Verdict: GO** at the end of stage full" in text
    assert (
        "33 of 35 gates are passed; report.json has their values.\nNot passed: mean_atoms (advisory), system_balance (advisory).\n" in text
    )
    versions = json.loads(read_facts(quickstart.dataset).metadata["versions"])
    assert f"; rdkit {versions['service rdkit: rdkit']}." in text
    assert "- Labels come from the teacher, not from first principles." in text
    assert "weights of 7net-0" in text
    assert "| structures of molecules: service rdkit | RDKit: BSD-3-Clause |" in text
    assert (quickstart.dataset.parent / "recipe.yaml").read_text().strip() in text
    assert "None" not in text
    matter = yaml.safe_load(text.split("---")[1])
    assert matter["size_categories"] == ["n<1K"]
    assert matter["license"] == "other"


def test_the_card_lists_the_licences_that_structures_bring_along(tmp_path: Path) -> None:
    given = {"licence": "CC-BY-4.0 | mine"}, {"info": {"origin": {"licence": "CC0-1.0"}}}, {}
    structures = [replace(s, origin={**s.origin, **own}) for s, own in zip(mixed("t", 3), given, strict=True)]
    write_dataset(path := tmp_path / "own.h5", structures)
    write_card(path)
    text = path.with_name("README.md").read_text()
    assert "| structures of tests: what they are from | CC-BY-4.0 \\| mine |" in text
    assert "| structures of tests: what they are from | CC0-1.0 |" in text
    assert json.loads(path.with_name("croissant.json").read_text())["license"] == ["CC-BY-4.0 | mine", "CC0-1.0"]


def test_croissant_describes_the_file_that_is_there(quickstart: Finished) -> None:
    found = json.loads((quickstart.dataset.parent / "croissant.json").read_text())
    (file,) = found["distribution"]
    assert file["sha256"] == hashlib.sha256(quickstart.dataset.read_bytes()).hexdigest()
    assert file["contentSize"] == f"{quickstart.dataset.stat().st_size} B"
    assert found["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    assert "MIT" in found["license"]


def test_the_code_for_loading_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    for need, code in describe_loading(path.name).items():
        if need != "a trainer":
            exec(compile(code, need, "exec"), {})


def test_a_citation_names_the_dataset_and_its_teacher(quickstart: Finished) -> None:
    entry = cite_dataset(read_facts(quickstart.dataset))
    assert entry.startswith("@misc{quickstart20")
    assert "labelled by 7net-0" in entry


@pytest.mark.parametrize(("n", "name"), [(999, "n<1K"), (1_000, "1K<n<10K"), (120_000, "100K<n<1M"), (20_000_000, "10M<n<100M")])
def test_sizes_are_the_hubs(n: int, name: str) -> None:
    assert find_size(n) == name


def test_a_file_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_text("no")
    with pytest.raises(InvalidRequest, match="can't be read as HDF5"):
        write_card(tmp_path / "x.h5")
