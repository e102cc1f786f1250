"""The app of the benchmarks service."""

from fastapi import FastAPI

from contract.service import ServiceSettings, create_app
from services.benchmarks.generator import BenchmarkGenerator
from services.benchmarks.settings import BenchmarkSettings


def build() -> FastAPI:
    """The service, set up from the environment."""
    return create_app(BenchmarkGenerator(BenchmarkSettings()), ServiceSettings())
