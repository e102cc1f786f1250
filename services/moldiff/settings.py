"""Settings of the moldiff service."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from distillery.generators.models.settings import ModelSettings


class MolDiffSettings(ModelSettings):
    """From the environment (DISTILLERY_MOLDIFF_…)."""

    model_config = SettingsConfigDict(env_prefix="DISTILLERY_MOLDIFF_", frozen=True)

    checkpoint: str = Field(
        "MolDiff",
        description="MolDiff or MolDiff_simple (weights.yaml), `small` (for trying), upstream's .pt as a file or URL, or a folder "
        "that holds it and, for guidance, the bond predictor's",
    )
