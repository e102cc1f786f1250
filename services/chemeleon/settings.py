"""Settings of the chemeleon service, from the environment (DISTILLERY_CHEMELEON_…)."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from distillery.generators.models.settings import ModelSettings


class ChemeleonSettings(ModelSettings):
    """Settings of every model's service; the checkpoint that is loaded unless another is named."""

    model_config = SettingsConfigDict(env_prefix="DISTILLERY_CHEMELEON_", frozen=True)

    checkpoint: str = Field("dng_alex_mp_20", description="a set of weights.yaml, `small` (for trying), or a .ckpt file, its folder or URL")
