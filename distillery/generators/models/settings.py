"""Settings that every service of a generative model has."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from distillery.runtime.device import Device


class ModelSettings(BaseSettings):
    """Settings of one model; a subclass gives the prefix of its environment variables (DISTILLERY_MATTERGEN_…) and its own fields."""

    model_config = SettingsConfigDict(frozen=True)

    checkpoint: str = Field(description="a checkpoint's name in weights.yaml, `small` (for trying), a file or folder, or a URL")
    weights: Path = Field(Path("weights"), description="folder of downloaded weights; the images have /weights")
    download: bool = Field(True, description="fetch weights that are missing")
    device: Device = Field("auto", description="auto, cpu or cuda; auto is cuda where there is one")
    batch: int = Field(
        64, ge=1, description="structures sampled at once; halved where memory is too small. Another batch size gives other structures"
    )
    threads: int = Field(1, ge=1, description="CPU threads. Another number changes the last digits")
    acceptance: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of samples that become structures; below 1 a request begins with as many as bring n at it, and draws some to "
        "spare, so that no small batch at its end costs a whole run of the sampler. Another share gives other structures",
    )
