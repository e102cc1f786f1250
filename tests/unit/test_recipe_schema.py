"""`distillery schema`: what editors know of recipes."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from distillery.recipe.recipe import Recipe
from tests.command import ROOT, distillery

RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    done = distillery("schema", cwd=ROOT)
    assert done.returncode == 0, done.output
    schema = json.loads(done.output)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_the_recipes_here_are_valid_by_the_schema(validator: Draft202012Validator, path: Path) -> None:
    assert [error.message for error in validator.iter_errors(yaml.safe_load(path.read_text()))] == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda recipe: recipe.update(cuont=3),
        lambda recipe: recipe.pop("teacher"),
        lambda recipe: recipe.update(seed="one"),
        lambda recipe: recipe.update(seed=-1),
        lambda recipe: recipe.update(shard_size=1001),
        lambda recipe: recipe.update(gates={"elment_entropy": {"threshold": 1}}),
        lambda recipe: recipe.update(sources={}),
        lambda recipe: next(iter(recipe["sources"].values())).update(system="glass"),
        lambda recipe: next(iter(recipe["sources"].values())).update(atoms=[1]),
    ],
)
def test_what_the_command_refuses_the_schema_refuses_too(validator: Draft202012Validator, spoil: Callable[[Any], object]) -> None:
    recipe = copy.deepcopy(yaml.safe_load(RECIPES[0].read_text()))
    spoil(recipe)
    assert list(validator.iter_errors(recipe))


def test_every_key_of_a_recipe_is_explained(validator: Draft202012Validator) -> None:
    models = {"Recipe": validator.schema, **validator.schema["$defs"]}
    keys = {f"{name}.{key}": about for name, model in models.items() for key, about in model["properties"].items()}
    assert [name for name, about in keys.items() if "description" not in about] == []
    assert set(validator.schema["properties"]) == set(Recipe.model_fields)
