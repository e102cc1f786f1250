"""Routes that take a recipe: begin its dataset, check it, plan it."""

from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response

from distillery.errors import Conflict, InvalidRequest, TooLarge, Unavailable
from distillery.http.body import read_body
from distillery.http.openapi import describe_header, explain_problems
from distillery.recipe.recipe import StageName
from distillery.recipe.target import Target
from distillery.runtime.yaml import read_lines
from distillery.schema.dataset import Forecast, RecipeCheck, Status
from distillery.schema.explain import validate_message
from gateway.manager import Manager

Until = Annotated[StageName | None, Query(description="stop after this stage")]
Only = Annotated[StageName | None, Query(description="make this stage alone; those before it must be there and GO")]


def add_recipe_routes(app: FastAPI, manager: Manager) -> None:
    """POST /v1/datasets, …/check and …/plan."""
    recipe_body = {"requestBody": _describe_recipe_body()}
    responses = explain_problems(InvalidRequest, Conflict, TooLarge, Unavailable)

    @app.post(
        "/v1/datasets",
        status_code=202,
        tags=["datasets"],
        openapi_extra=recipe_body,
        responses={**responses, 202: {"headers": describe_header("Location", "the path of the dataset")}},
    )
    async def create_dataset(request: Request, response: Response, until: Until = None, stage: Only = None) -> Status:
        """Begin a dataset from a recipe; the same recipe again goes on with it and begins no second one, so a request may be repeated.

        The recipe's name is the key: another recipe of a name that has something already is a conflict. The header Location says where
        the dataset is.
        """
        name = await manager.create(await read_recipe_text(request), _make_target(until, stage))
        response.headers["Location"] = f"/v1/datasets/{name}"
        return await manager.statuses.tell(name)

    @app.post("/v1/datasets/check", tags=["datasets"], openapi_extra=recipe_body, responses=responses)
    async def check_recipe(request: Request) -> RecipeCheck:
        """What keeps a recipe from being made: services, teacher, systems, sizes and options are asked for; starts nothing."""
        return await manager.check(await read_recipe_text(request))

    @app.post("/v1/datasets/plan", tags=["datasets"], openapi_extra=recipe_body, responses=responses)
    async def plan_recipe(request: Request, until: Until = None, stage: Only = None) -> Forecast:
        """What a recipe would make and take, by the rates of its parts if there are any; starts nothing."""
        return await manager.forecast(await read_recipe_text(request), _make_target(until, stage))


async def read_recipe_text(request: Request) -> str:
    """The body as text; InvalidRequest if it is none."""
    try:
        return (await read_body(request)).decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"a recipe is UTF-8 text: {error}") from error


def _make_target(until: StageName | None, stage: StageName | None) -> Target:
    return validate_message(Target, {"until": until, "stage": stage}, "")


_EXAMPLE = """\
name: example
seed: 42
teacher: 7net-0
sources:
  molecules: {service: rdkit, system: molecule, count: 100, atoms: [10, 60]}
  crystals: {service: pymatgen, system: crystal, count: 60}
"""


def _describe_recipe_body() -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Recipe"}
    content = {
        "application/yaml": {"schema": schema, "example": _EXAMPLE},
        "application/json": {"schema": schema, "example": read_lines(_EXAMPLE)[0]},
    }
    return {"required": True, "description": "A recipe; recipes/quickstart.yaml explains every key", "content": content}
