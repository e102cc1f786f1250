"""The crystalflow service's app."""

from fastapi import FastAPI

from contract.service import ServiceSettings, create_app
from generative.sampling import SampledGenerator
from services.crystalflow.model import CrystalFlow
from services.crystalflow.settings import CrystalFlowSettings


def build() -> FastAPI:
    """The app, its settings from the environment."""
    return create_app(SampledGenerator(CrystalFlow(CrystalFlowSettings())), ServiceSettings())
