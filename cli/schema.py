"""`distillery schema`."""

import json

from cli.app import app


@app.command()
def schema() -> None:
    """Print the JSON Schema of a recipe, with which editors complete keys and explain them (docs/recipes.md)."""
    print(json.dumps(describe_recipe(), indent=2, ensure_ascii=False))


def describe_recipe() -> dict[str, object]:
    """The JSON Schema of a recipe, draft 2020-12."""
    from distillery.recipe.recipe import Recipe

    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Recipe.model_json_schema(), "title": "A recipe of Distillery"}
