"""Who may ask a process of the factory, and how it shows who it is: key and certificates, from the environment (DISTILLERY_…)."""

import ssl
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from distillery.errors import InvalidRequest
from distillery.http.api_key import carry_key, check_key, read_key


class AccessSettings(BaseSettings):
    """The same for services, labellers and the command; the gateway's own key is among its settings."""

    model_config = SettingsConfigDict(env_prefix="DISTILLERY_", env_ignore_empty=True, frozen=True, hide_input_in_errors=True)

    api_key: SecretStr | None = Field(None, description="services and labellers refuse who does not send it; it is sent to the gateway")
    api_key_file: Path | None = Field(None, description="a file with the key, where the setting has none; mode 600")
    private_network: bool = Field(False, description="whoever reaches the process may ask it without a key, as in a container's network")
    open_metrics: bool = Field(False, description="services and labellers answer GET /metrics without the key")
    tls_certificate: Path | None = Field(None, description="PEM: of this process, as a server, and as a client that is asked for one")
    tls_key: Path | None = Field(None, description="PEM: the certificate's private key")
    tls_ca: Path | None = Field(None, description="PEM: who signs the certificates of servers that are asked, besides the usual ones")
    tls_client_ca: Path | None = Field(None, description="PEM: who signs the certificates that clients must have; absent: none are needed")

    @field_validator("api_key")
    @classmethod
    def _can_be_sent(cls, key: SecretStr | None) -> SecretStr | None:
        return check_key(key)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("set both DISTILLERY_TLS_CERTIFICATE and DISTILLERY_TLS_KEY, or neither")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError("DISTILLERY_TLS_CLIENT_CA is for a server with TLS: set DISTILLERY_TLS_CERTIFICATE and DISTILLERY_TLS_KEY too")
        return self

    @cached_property
    def key(self) -> SecretStr | None:
        """The API key, given or from its file."""
        return read_key(self.api_key, self.api_key_file)

    @property
    def headers(self) -> dict[str, str]:
        """What a request to the gateway carries."""
        return carry_key(self.key)

    @property
    def scheme(self) -> str:
        """Of this process as a server."""
        return "http" if self.tls_certificate is None else "https"

    def require_guarded(self, host: str) -> None:
        """InvalidRequest if a service is to listen on `host`, beyond loopback, where nobody would need a key."""
        if self.key is None and not self.private_network and not is_loopback(host):
            raise InvalidRequest(
                f"it would listen on {host}, beyond loopback, for anybody: set DISTILLERY_API_KEY_FILE (or DISTILLERY_API_KEY) to the "
                "gateway's key, listen on 127.0.0.1, or set DISTILLERY_PRIVATE_NETWORK=true where no stranger reaches it"
            )

    def configure_tls(self) -> dict[str, Any]:
        """The arguments of `uvicorn.Config` for TLS."""
        if self.tls_certificate is None:
            return {}
        asked = {} if self.tls_client_ca is None else {"ssl_ca_certs": str(self.tls_client_ca), "ssl_cert_reqs": ssl.CERT_REQUIRED}
        return {"ssl_certfile": str(self.tls_certificate), "ssl_keyfile": str(self.tls_key), **asked}

    def trust(self) -> ssl.SSLContext | bool:
        """What httpx checks servers by, as its `verify`; True for its own way."""
        if self.tls_ca is None and self.tls_certificate is None:
            return True
        context = ssl.create_default_context()
        if self.tls_ca is not None:
            context.load_verify_locations(self.tls_ca)
        if self.tls_certificate is not None:
            context.load_cert_chain(self.tls_certificate, self.tls_key)
        return context


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
