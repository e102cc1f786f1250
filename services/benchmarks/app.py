"""The app of the benchmarks service."""

from fastapi import FastAPI

from contract.machine import count_workers
from contract.service import ServiceSettings, create_app
from services.benchmarks.generator import BenchmarkGenerator
from services.benchmarks.settings import BenchmarkSettings

_MEMORY_PER_WORKER = 256 * 2**20
"""Bytes; a worker needs far less, the rest is for what is read of the files meanwhile."""


def build() -> FastAPI:
    """The service, set up from the environment."""
    settings = ServiceSettings()
    return create_app(BenchmarkGenerator(BenchmarkSettings(), settings.workers or count_workers(_MEMORY_PER_WORKER)), settings)
