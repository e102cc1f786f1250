"""The moldiff service's app."""

from fastapi import FastAPI

from contract.service import ServiceSettings, create_app
from generative.sampling import SampledGenerator
from services.moldiff.model import MolDiff
from services.moldiff.settings import MolDiffSettings


def build() -> FastAPI:
    """The app, its settings from the environment."""
    return create_app(SampledGenerator(MolDiff(MolDiffSettings())), ServiceSettings())
