"""The OpenAPI documents of the three kinds of apps: compared with docs/openapi by a test, written by `make openapi`."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from fastapi import FastAPI

from distillery.generators.service import ServiceSettings, create_app
from gateway.app import create_gateway
from gateway.settings import GatewaySettings
from labeller.app import create_labeller
from labeller.settings import LabellerSettings
from tests.fake_service import FakeGenerator
from tests.fake_teacher import FakeTeacher

FOLDER = Path(__file__).parents[1] / "docs" / "openapi"
APPS: Mapping[str, Callable[[], FastAPI]] = {
    "gateway": lambda: create_gateway(GatewaySettings(api_key="an example of a key")),
    "labeller": lambda: create_labeller(FakeTeacher(), LabellerSettings()),
    "service": lambda: create_app(FakeGenerator("service"), ServiceSettings()),
}


def write_document(app: FastAPI) -> str:
    """The OpenAPI document as it is stored."""
    return json.dumps(app.openapi(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, build in APPS.items():
        (FOLDER / f"{name}.json").write_text(write_document(build()), encoding="utf-8")
