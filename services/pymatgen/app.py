"""The container's app: `uvicorn --factory services.pymatgen.app:build`."""

from fastapi import FastAPI

from contract.machine import count_workers
from contract.proposals import ProposalGenerator
from contract.service import ServiceSettings, create_app
from services.pymatgen.generator import CrystalProposer

_MEMORY_PER_WORKER = 256 * 2**20
"""Bytes; a worker of its own needs 73 MB after 120 structures of all sizes, beside the fork server."""


def build() -> FastAPI:
    """The service with its settings from the environment."""
    settings = ServiceSettings()
    return create_app(ProposalGenerator(CrystalProposer, settings.workers or count_workers(_MEMORY_PER_WORKER)), settings)
