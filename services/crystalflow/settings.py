"""Settings of the crystalflow service."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from distillery.generators.models.settings import ModelSettings


class CrystalFlowSettings(ModelSettings):
    """From the environment (DISTILLERY_CRYSTALFLOW_…)."""

    model_config = SettingsConfigDict(env_prefix="DISTILLERY_CRYSTALFLOW_", frozen=True)

    checkpoint: str = Field(
        "",
        description="upstream's .ckpt as a file, a folder that holds it, or a URL; or `small` (for trying). Which there are: weights.yaml",
    )
    csp_checkpoint: str = Field("", description="a second one, for compositions, where the first makes crystals de novo only")
