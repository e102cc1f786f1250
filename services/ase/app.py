"""The ase service's app."""

from fastapi import FastAPI

from contract.machine import count_workers
from contract.proposals import ProposalGenerator
from contract.service import ServiceSettings, create_app
from services.ase.generator import ClusterSurfaceProposer

_MEMORY_PER_WORKER = 128 * 2**20
"""Bytes; a worker of its own needs 33 MB after 120 structures of all sizes, beside the fork server."""


def build() -> FastAPI:
    """The app, its settings from the environment."""
    settings = ServiceSettings()
    return create_app(ProposalGenerator(ClusterSurfaceProposer, settings.workers or count_workers(_MEMORY_PER_WORKER)), settings)
