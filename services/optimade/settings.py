"""The optimade service's own settings, from the environment (DISTILLERY_OPTIMADE_…)."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from distillery.schema.base import Elements
from distillery.structures.structure import DEFAULT_ELEMENTS


class OptimadeSettings(BaseSettings):
    """Which database is asked for what, and where its answer is kept."""

    model_config = SettingsConfigDict(env_prefix="DISTILLERY_OPTIMADE_", env_ignore_empty=True, frozen=True)

    url: str | None = Field(None, pattern="^https?://", description="base URL of the provider, without /v1")
    elements: Elements = Field(DEFAULT_ELEMENTS, description="elements that crystals may have, as a JSON list")
    filter: str | None = Field(None, description="an OPTIMADE filter that entries must pass beside that of the elements")
    max_sites: int = Field(200, ge=1, le=1000, description="largest cell that is kept, atoms")
    max_entries: int = Field(20_000, ge=1, le=1_000_000, description="entries read at most, in the provider's order")
    page_limit: int | None = Field(None, ge=1, le=1000, description="entries asked for in one page; the provider's own number if absent")
    licence: str | None = Field(None, description="licence of the data, where the provider's /info does not say")
    folder: Path = Field(Path("optimade"), description="folder of what was fetched")
    download: bool = Field(True, description="ask the provider for what is not in the folder")
