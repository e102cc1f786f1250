"""Settings that every generator service has, from the environment (DISTILLERY_SERVICE_…)."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServiceSettings(BaseSettings):
    """How many workers and requests a service has at once."""

    model_config = SettingsConfigDict(env_prefix="DISTILLERY_SERVICE_", env_ignore_empty=True, frozen=True)

    workers: int | None = Field(None, ge=1, description="worker processes; if absent one a core, as far as memory allows")
    concurrency: int = Field(1, ge=1, description="requests worked on at once")
    queue: int = Field(8, ge=0, description="requests that may wait; one more gets 429")
    end_when_lost: bool = Field(False, description="end the process once its device is lost, for a restart policy to start it again")
