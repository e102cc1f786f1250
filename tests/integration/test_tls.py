"""TLS between processes: a service with a certificate, which asks its clients for one too."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from distillery.http.access import AccessSettings
from tests.integration.test_replicas import wait_until
from tests.serving import free_port


@pytest.fixture(scope="module")
def access(tmp_path_factory: pytest.TempPathFactory) -> AccessSettings:
    """A certificate of 127.0.0.1 that signs itself, for servers and clients alike."""
    folder, key, now = tmp_path_factory.mktemp("tls"), ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "factory")])
    certificate = (
        x509.CertificateBuilder(
            name, name, key.public_key(), x509.random_serial_number(), now - timedelta(hours=1), now + timedelta(days=1)
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    pem = folder / "cert.pem"
    return AccessSettings(tls_certificate=pem, tls_key=folder / "key.pem", tls_ca=pem, tls_client_ca=pem)


def test_a_server_is_known_by_its_certificate_and_asks_for_one(access: AccessSettings) -> None:
    port = free_port()
    env = {f"DISTILLERY_{name.upper()}": str(value) for name, value in access.model_dump(exclude_defaults=True).items()}
    command = [sys.executable, "-m", "tests.process", "tests.fast_service:build_ase", "--port", str(port)]
    with subprocess.Popen(command, env={**os.environ, **env}) as process:
        try:
            url = f"https://127.0.0.1:{port}/v1/health/ready"
            wait_until(lambda: is_answered(url, access))
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                httpx.get(url)
            with pytest.raises(httpx.TransportError):
                httpx.get(url, verify=AccessSettings(tls_ca=access.tls_ca).trust())
        finally:
            process.kill()


def is_answered(url: str, access: AccessSettings) -> bool:
    try:
        return httpx.get(url, verify=access.trust()).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("given", [{"tls_certificate": Path("a")}, {"tls_key": Path("a")}, {"tls_client_ca": Path("a")}])
def test_half_of_what_tls_needs_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="set"):
        AccessSettings(**given)
