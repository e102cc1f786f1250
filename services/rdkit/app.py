"""The app of the rdkit service."""

from fastapi import FastAPI

from contract.proposals import ProposalGenerator
from contract.service import ServiceSettings, create_app
from services.rdkit.generator import MoleculeProposer


def build() -> FastAPI:
    """The service, set up from the environment."""
    settings = ServiceSettings()
    return create_app(ProposalGenerator(MoleculeProposer, settings.workers), settings)
