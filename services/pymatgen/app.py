"""The container's app: `uvicorn --factory services.pymatgen.app:build`."""

from fastapi import FastAPI

from contract.proposals import ProposalGenerator
from contract.service import ServiceSettings, create_app
from services.pymatgen.generator import CrystalProposer


def build() -> FastAPI:
    """The service with its settings from the environment."""
    settings = ServiceSettings()
    return create_app(ProposalGenerator(CrystalProposer, settings.workers), settings)
