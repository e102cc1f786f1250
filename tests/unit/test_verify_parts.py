"""Verifying files that hold the wrong parts, or the right ones in another order, each whole and sealed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distillery.dataset.merge import finalise
from distillery.planning.made_parts import MadeParts
from distillery.report.summary import describe_checkpoints
from distillery.schema.label import FinaliseRequest, PartSelection
from distillery.verify.file_checks import Check
from distillery.verify.verification import Verification
from tests.dataset_folder import RECIPE, write_part_of, write_parts

FIRST, *_, LAST = NAMES = [
    *(f"full-molecules-{k:05d}" for k in range(4)),
    *(f"full-crystals-{k:05d}" for k in range(2)),
]
EXTRA = "full-crystals-00002"


def merge(made_parts: MadeParts, folder: Path, names: list[str]) -> dict[str, Check]:
    """The checks of a dataset.h5 of these parts."""
    request = FinaliseRequest(
        dataset=made_parts.recipe.name,
        recipe=RECIPE,
        recipe_sha256=made_parts.recipe.sha256,
        seed=made_parts.recipe.seed,
        checkpoints=json.dumps([record.model_dump(mode="json") for record in describe_checkpoints(made_parts.make_plan())]),
        parts=tuple(PartSelection(part=name) for name in names),
    )
    finalise(folder, request)
    return {check.name: check for check in Verification(folder / made_parts.recipe.name / "dataset.h5").run()}


def test_the_parts_of_the_recipe_in_its_order_are_right(tmp_path: Path) -> None:
    made_parts = write_parts(tmp_path / "pictured")
    assert [shard.name for shard in made_parts.make_plan().shards()] == NAMES
    assert merge(made_parts, tmp_path, NAMES)["plan"] == Check(
        "plan", True, "recipe and receipts give these 6 shards and these counts: molecules 60/60, crystals 30/30"
    )


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        ([*NAMES[1:], FIRST], "the parts are in another order"),
        ([NAMES[1], NAMES[0], *NAMES[2:]], "the parts are in another order"),
        ([*NAMES, EXTRA], f"not both in recipe and file: {EXTRA}"),
        ([EXTRA, *NAMES], f"not both in recipe and file: {EXTRA}"),
        (NAMES[:-1], "by the recipe, shards are missing that the dataset needs"),
        (NAMES[1:], "by the recipe, shards are missing that the dataset needs"),
    ],
    ids=["first last", "neighbours swapped", "one more", "one more before", "last missing", "first missing"],
)
def test_a_wrong_set_or_order_of_parts_is_found(tmp_path: Path, names: list[str], fault: str) -> None:
    made_parts = write_parts(tmp_path / "pictured")
    last = next(shard for shard in made_parts.make_plan().shards() if shard.name == LAST)
    write_part_of(tmp_path / "pictured", made_parts.recipe, replace(last, name=EXTRA))
    checks = merge(made_parts, tmp_path, names)
    assert checks["plan"].passed is False
    assert checks["plan"].faults == (fault,)
    assert {"gates", "report"}.isdisjoint(checks), "they are of a plan that the file does not hold"


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        ({"stage": "pilot"}, "the receipt says stage pilot, by the recipe it is full"),
        ({"source": "crystals"}, "the receipt says source crystals, by the recipe it is molecules"),
        ({"service": "ase"}, "the receipt says service ase, by the recipe it is rdkit"),
        ({"system": "cluster"}, "the receipt says system cluster, by the recipe it is molecule"),
        ({"round": 1}, "the receipt says round 1, by the recipe it is 0"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_part_that_was_made_for_something_else_is_found(tmp_path: Path, record: dict[str, Any], fault: str) -> None:
    folder = tmp_path / "pictured"
    made_parts = write_parts(folder, only=lambda shard: shard.name != FIRST)
    write_part_of(folder, made_parts.recipe, next(made_parts.make_plan().shards()), **record)
    plan = merge(MadeParts(folder, made_parts.recipe), tmp_path, NAMES)["plan"]
    assert plan.passed is False
    assert plan.faults == (f"{FIRST}: {fault}",)
