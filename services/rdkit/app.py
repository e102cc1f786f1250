"""The app of the rdkit service."""

from fastapi import FastAPI

from contract.machine import count_workers
from contract.proposals import ProposalGenerator
from contract.service import ServiceSettings, create_app
from services.rdkit.generator import MoleculeProposer

_MEMORY_PER_WORKER = 128 * 2**20
"""Bytes; a worker of its own needs 44 MB after 120 structures of all sizes, beside the fork server."""


def build() -> FastAPI:
    """The service, set up from the environment."""
    settings = ServiceSettings()
    return create_app(ProposalGenerator(MoleculeProposer, settings.workers or count_workers(_MEMORY_PER_WORKER)), settings)
