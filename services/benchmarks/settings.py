"""The benchmarks service's own settings, from the environment (DISTILLERY_BENCHMARKS_…)."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class BenchmarkSettings(BaseSettings):
    """Where the benchmarks' files are and whether missing ones may be downloaded."""

    model_config = SettingsConfigDict(env_prefix="DISTILLERY_BENCHMARKS_", frozen=True)

    folder: Path = Field(Path("benchmarks"), description="folder of the benchmarks' files; downloads and indices are written there")
    download: bool = Field(False, description="download the official archives of subsets that are missing when the service starts")
