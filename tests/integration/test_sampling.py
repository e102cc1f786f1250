"""Datasets of which the teacher makes the frames: counted, told apart, split and verified by their proposals."""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from distillery.dataset.parts import read_part
from distillery.dataset.splits import split_dataset
from distillery.report.page.page import write_page
from distillery.structures.identity import find_proposal
from distillery.verify.verification import Verification
from tests.fake_service import FakeGenerator
from tests.integration.factory import RECIPE, factory, make, two_fakes

BASE = RECIPE.replace("seed: 1", "seed: 1\nelements: [N, O, F, Si, P, S, Cl]")
SAMPLE = "sample: {relax: {steps: 3}, rattle: {width: [0.03, 0.05]}, keep: 2}\n"


def run(data: Path, recipe: str, generators: Mapping[str, FakeGenerator] | None = None) -> dict[str, Any]:
    async def make_it() -> dict[str, Any]:
        async with factory(data, generators or two_fakes()) as client:
            return await make(client, recipe)

    return asyncio.run(make_it())


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("sampled")
    assert run(data, BASE + SAMPLE)["verdict"] == "GO"
    return data / "small"


def test_the_counts_of_a_recipe_are_frames(sampled: Path) -> None:
    report = json.loads((sampled / "report.json").read_text())
    assert {name: own["kept"] for name, own in report["sources"].items()} == {"one": 20, "two": 12}
    assert report["sources"]["one"]["requested"] == 10
    assert report["sources"]["one"]["teacher_calls"] == 10 * (3 + 2)


def test_every_frame_tells_its_proposal_and_what_was_done(sampled: Path) -> None:
    with h5py.File(sampled / "dataset.h5") as file:
        ids = file["provenance/id"].asstr()[:].tolist()
        samples = [json.loads(text)["sample"] for text in file["provenance/origin"].asstr()[:]]
    assert set(Counter(find_proposal(id) for id in ids).values()) == {2}
    assert [sample["parent"] for sample in samples] == [find_proposal(id) for id in ids]
    assert all(sample["relax_steps"] == 3 for sample in samples)
    assert all(0.03 <= sample["rattle"] <= 0.05 for sample in samples if sample["frame"] == 1)
    assert not any("rattle" in sample for sample in samples if sample["frame"] == 0)


def test_the_page_shows_frames(sampled: Path, tmp_path: Path) -> None:
    write_page(sampled, tmp_path / "report.html")
    assert "/0003/1" in (tmp_path / "report.html").read_text()


def test_frames_of_one_proposal_are_on_one_side(sampled: Path) -> None:
    with h5py.File(sampled / "dataset.h5") as file:
        proposals = np.array([find_proposal(id) for id in file["provenance/id"].asstr()[:]])
    sides = [set(proposals[rows]) for rows in split_dataset(sampled / "dataset.h5", fractions=(0.5, 0.2, 0.3)).indices.values()]
    assert sum(map(len, sides)) == len(set.union(*sides))


def test_it_is_verified_from_its_file_alone(sampled: Path) -> None:
    checks = list(Verification(sampled / "dataset.h5").run())
    assert [check for check in checks if not check.passed] == []


def test_two_runs_give_the_same_frames(sampled: Path, tmp_path: Path) -> None:
    run(tmp_path, BASE + SAMPLE)
    with h5py.File(sampled / "dataset.h5") as one, h5py.File(tmp_path / "small" / "dataset.h5") as two:
        assert one["provenance/id"].asstr()[:].tolist() == two["provenance/id"].asstr()[:].tolist()
        assert np.allclose(one["structures/positions"][:], two["structures/positions"][:], atol=1e-6)


def test_the_same_proposal_again_is_a_duplicate_whatever_its_frames_are(tmp_path: Path) -> None:
    generators = two_fakes()
    generators["fake"].twin = True
    status = run(tmp_path, BASE + SAMPLE, generators)
    assert status["verdict"] == "NO-GO"
    with h5py.File(tmp_path / "small" / "dataset.h5") as file:
        parents = [json.loads(text)["sample"] for text in file["provenance/origin"].asstr()[:]]
    frames = Counter((sample["parent_hash"], sample["frame"]) for sample in parents)
    assert max(frames.values()) == 1


def test_a_proposal_that_the_teacher_tears_apart_is_quarantined(tmp_path: Path) -> None:
    status = run(tmp_path, BASE + "sample: {md: {temperature: [300000, 300000], steps: 20, every: 20, timestep: 10}}\n")
    assert status["verdict"] == "NO-GO"
    part = read_part(next((tmp_path / "small" / "parts").glob("*.h5")))
    assert part.quarantined
    assert {reject.reason for reject in part.receipt.rejected} & {"exploded", "atoms_too_close"}
