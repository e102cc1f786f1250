"""Settings of the mattergen service, from the environment (DISTILLERY_MATTERGEN_…)."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from distillery.generators.models.settings import ModelSettings


class MatterGenSettings(ModelSettings):
    """Settings of every model's service; the checkpoint that is loaded unless another is named."""

    model_config = SettingsConfigDict(env_prefix="DISTILLERY_MATTERGEN_", frozen=True)

    checkpoint: str = Field("mattergen_base", description="a set of weights.yaml, `small` (for trying), or a folder with its two files")
