"""Settings of the gateway, from the environment (DISTILLERY_GATEWAY_…)."""

from functools import cached_property
from pathlib import Path
from typing import Self

from pydantic import Field, HttpUrl, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from distillery.generators.plugins import list_services
from distillery.http.access import is_loopback
from distillery.http.api_key import check_key, read_key
from distillery.runtime.machine import count_workers

LABELLER = "labeller"

_WORKER_MEMORY = 250_000_000
"""Bytes, with a shard's structures twice."""
_MOST_WORKERS = 8
"""One gateway can keep no more of them busy (docs/benchmarks.md)."""


class GatewaySettings(BaseSettings):
    """One object, built in main and passed in."""

    model_config = SettingsConfigDict(env_prefix="DISTILLERY_GATEWAY_", env_ignore_empty=True, frozen=True, hide_input_in_errors=True)

    data: Path = Field(Path("data"), description="folder of the datasets; the labeller writes to the same one")
    labeller: str = Field("http://labeller:8000", description="base URL of the labeller")
    services: dict[str, str] = Field(
        {},
        description='base URLs by service, JSON: {"mattergen": "http://mattergen.example:8000"}; of those that are installed here '
        "http://<service>:8000 if absent. No others are asked",
    )
    look_up: bool = Field(
        True,
        description="ask DNS for services and labeller that no setting names, under their own names; where they announce themselves that "
        "is not needed",
    )
    lease_seconds: float = Field(30.0, ge=1, description="a replica that announced itself and has been silent for so long is lost, s")
    concurrency: int = Field(2, ge=1, description="shards of one source in work at once, for every replica of its service")
    workers: int | None = Field(
        None,
        ge=0,
        description="processes that check and hash structures, once there have been 2,000 for each; one a core, at most 8 and as far as "
        "the memory carries them, if absent. 0: a thread of the gateway",
    )
    tries: int = Field(6, ge=1, description="tries of a request whose failure may pass")
    patience: float = Field(1.0, gt=0, description="wait before the second try, s; doubles with every try, at most 30 s")
    busy_seconds: float = Field(900.0, gt=0, description="longest wait for a service that is loading or busy and says when to ask again, s")
    connect_seconds: float = Field(5.0, gt=0, description="longest wait for a connection, s")
    generate_seconds: float = Field(
        900.0, gt=0, description="longest wait for an answer of /generate, s; structure_seconds more for each structure asked for"
    )
    structure_seconds: float = Field(
        20.0,
        ge=0,
        description="see generate_seconds, s. The gate allows 10 s a structure, and another shard may be ahead in the service's queue",
    )
    label_seconds: float = Field(1800.0, gt=0, description="longest wait for an answer of /label, s")
    visible_seconds: float = Field(
        40.0,
        gt=0,
        description="how long a part that a labeller wrote may take to be seen here, s, before it is asked for again; caches of NFS lag by "
        "up to a minute",
    )
    page: bool = Field(True, description="make report.html when a dataset is finished")
    resume: bool = Field(True, description="go on with unfinished datasets at the start")

    webhooks: tuple[HttpUrl, ...] = Field(
        (), description="addresses, JSON list, that are told of verdicts of stages and of datasets that are finished or have failed"
    )
    webhook_secret: SecretStr | None = Field(
        None, description="signs what they are told: the header Distillery-Signature is sha256=<HMAC-SHA256 of the body with it>"
    )

    published: str = Field(
        "127.0.0.1",
        description="address that a container's port is published on; beyond loopback an API key is needed. Where it is set and there is "
        "no key, the container's own network is answered besides loopback",
    )
    api_key: SecretStr | None = Field(None, description="users send it as `Authorization: Bearer …`; at least 16 characters of ASCII")
    api_key_file: Path | None = Field(None, description="a file with the key, where the setting has none")
    open_metrics: bool = Field(False, description="answer GET /metrics without the API key, for a Prometheus that has none")

    @field_validator("api_key", "webhook_secret", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return value or None

    @field_validator("api_key")
    @classmethod
    def _can_be_sent(cls, key: SecretStr | None) -> SecretStr | None:
        return check_key(key)

    @model_validator(mode="after")
    def _is_guarded(self) -> Self:
        if self.key is None and not is_loopback(self.published):
            raise ValueError(f"the gateway is published on {self.published}, beyond loopback: set DISTILLERY_GATEWAY_API_KEY")
        return self

    def longest_generate(self, n: int) -> float:
        """Longest wait for n structures, s: nothing comes before all are there."""
        return self.generate_seconds + n * self.structure_seconds

    @cached_property
    def key(self) -> SecretStr | None:
        """The API key, given or from its file."""
        return read_key(self.api_key, self.api_key_file)

    @property
    def n_workers(self) -> int:
        """Processes that check structures."""
        return min(count_workers(_WORKER_MEMORY), _MOST_WORKERS) if self.workers is None else self.workers

    @property
    def urls(self) -> dict[str, str]:
        """Where the labeller and the services are that may be asked, as far as settings or DNS know."""
        by_name = {name: f"http://{name}:8000" for name in list_services()} if self.look_up else {}
        by_name |= {LABELLER: self.labeller} if self.look_up or "labeller" in self.model_fields_set else {}
        return by_name | self.services
