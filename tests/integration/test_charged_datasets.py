"""A whole factory with ions: refused before anything is made by a teacher that knows of no charge, made by one that does."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import pytest

from distillery.generators.generator import Made, Progress, Task
from distillery.runtime.stopping import Stop
from distillery.schema.base import Message
from distillery.schema.generate import ChargeOptions
from distillery.schema.label import Abilities
from distillery.structures.structure import System
from distillery.verify.verification import verify_dataset
from tests.fake_service import FakeGenerator
from tests.fake_teacher import FakeTeacher
from tests.integration.factory import RECIPE, factory, make

FALLBACK = RECIPE.replace("count: 20,", "count: 20, fallback: two,")


class IonGenerator(FakeGenerator):
    """Every other structure is a cation, every fourth an anion of the same kind."""

    @property
    def options(self) -> Mapping[System, type[Message]]:
        return {self.system: ChargeOptions}

    def generate(self, task: Task, stop: Stop, progress: Progress) -> Made:
        made = super().generate(task, stop, progress)
        charges = (0, 1, 0, -1)
        made.structures = [replace(s, charge=charges[k % 4]) for k, s in enumerate(made.structures)]
        return made


def run(data: Path, abilities: Abilities, recipe: str) -> dict[str, Any]:
    async def main() -> dict[str, Any]:
        generators = {"fake": IonGenerator("fake"), "other": FakeGenerator("other")}
        async with factory(data, generators, FakeTeacher(abilities=abilities)) as client:
            checked = (await client.post("/v1/datasets/check", content=recipe)).raise_for_status().json()
            status = await make(client, recipe)
            labels = sum(generator.calls.total() for generator in generators.values())
            return {"checked": checked, "status": status, "calls": labels}

    return asyncio.run(main())


@pytest.mark.parametrize("recipe", [RECIPE, FALLBACK], ids=["alone", "with a fallback"])
def test_a_factory_whose_teacher_knows_of_no_charge_makes_nothing(tmp_path: Path, recipe: str) -> None:
    found = run(tmp_path, Abilities(), recipe)
    said = "ask for ions, and teacher fake knows of no charge; leave `charges` out (`distillery label`, relabel: --neutral)"
    assert [(fault["line"], fault["key"], fault["message"]) for fault in found["checked"]["faults"]] == [(6, "sources.one.options", said)]
    assert said in found["status"]["problem"]["detail"]
    assert found["calls"] == 0
    assert not list(tmp_path.rglob("parts/*.h5"))


def test_a_factory_whose_teacher_knows_of_charge_makes_a_dataset_that_can_be_verified(tmp_path: Path) -> None:
    found = run(tmp_path, Abilities(charge=True), RECIPE)
    assert found["checked"]["faults"] == []
    assert found["status"]["state"] == "finished"
    path = tmp_path / "small" / "dataset.h5"
    with h5py.File(path) as file:
        charges, sources = file["structures/charges"][:], file["provenance/source"].asstr()[:]
    assert set(charges[sources == "one"].tolist()) == {-1, 0, 1}
    assert not charges[sources == "two"].any()
    failed = [check for check in verify_dataset(path) if check.passed is False]
    assert [check.name for check in failed if check.name != "gates"] == []
