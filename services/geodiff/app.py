"""The geodiff service's app."""

from fastapi import FastAPI

from contract.service import ServiceSettings, create_app
from generative.sampling import SampledGenerator
from services.geodiff.model import GeoDiff
from services.geodiff.settings import GeoDiffSettings


def build() -> FastAPI:
    """The app, its settings from the environment."""
    return create_app(SampledGenerator(GeoDiff(GeoDiffSettings())), ServiceSettings())
