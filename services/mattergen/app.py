"""The app of the mattergen service."""

from fastapi import FastAPI

from contract.service import ServiceSettings, create_app
from generative.sampling import SampledGenerator
from services.mattergen.model import MatterGenModel
from services.mattergen.settings import MatterGenSettings


def build() -> FastAPI:
    """The service, set up from the environment."""
    return create_app(SampledGenerator(MatterGenModel(MatterGenSettings())), ServiceSettings())
