"""The ase service's app."""

from fastapi import FastAPI

from contract.proposals import ProposalGenerator
from contract.service import ServiceSettings, create_app
from services.ase.generator import ClusterSurfaceProposer


def build() -> FastAPI:
    """The app, its settings from the environment."""
    settings = ServiceSettings()
    return create_app(ProposalGenerator(ClusterSurfaceProposer, settings.workers), settings)
