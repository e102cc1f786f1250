"""The container's app: `uvicorn --factory services.pymatgen.app:build`."""

from fastapi import FastAPI

from contract.machine import count_workers
from contract.proposals import ProposalGenerator
from contract.service import ServiceSettings, create_app
from services.pymatgen.generator import CrystalProposer

_MEMORY_PER_WORKER = 256 * 2**20
"""Bytes; 138 MB of its own were measured."""


def build() -> FastAPI:
    """The service with its settings from the environment."""
    settings = ServiceSettings()
    return create_app(ProposalGenerator(CrystalProposer, settings.workers or count_workers(_MEMORY_PER_WORKER)), settings)
