"""Settings of the geodiff service."""

from pydantic import Field, HttpUrl
from pydantic_settings import SettingsConfigDict

from distillery.generators.models.settings import ModelSettings


class GeoDiffSettings(ModelSettings):
    """From the environment (DISTILLERY_GEODIFF_…)."""

    model_config = SettingsConfigDict(env_prefix="DISTILLERY_GEODIFF_", frozen=True)

    checkpoint: str = Field(
        "drugs_default", description="qm9_default or drugs_default (weights.yaml), `small` (for trying), upstream's .pt as a file or URL"
    )
    pool: HttpUrl | None = Field(
        None, description="an rdkit service whose molecules are taken where a request gives no SMILES; molecules.smi if absent"
    )
