"""compose.yaml hands every container all the settings that it has."""

from pathlib import Path

import pytest
import yaml
from pydantic_settings import BaseSettings

from distillery.generators.inputs import InputSettings
from distillery.generators.service import ServiceSettings
from distillery.http.access import AccessSettings
from gateway.settings import GatewaySettings
from labeller.settings import LabellerSettings
from services.benchmarks.settings import BenchmarkSettings
from services.chemeleon.settings import ChemeleonSettings
from services.crystalflow.settings import CrystalFlowSettings
from services.geodiff.settings import GeoDiffSettings
from services.mattergen.settings import MatterGenSettings
from services.moldiff.settings import MolDiffSettings
from services.optimade.settings import OptimadeSettings

SERVICES = yaml.safe_load((Path(__file__).parents[2] / "compose.yaml").read_text())["services"]
SETTINGS: dict[str, tuple[type[BaseSettings], ...]] = {
    "gateway": (GatewaySettings,),
    "labeller": (AccessSettings, LabellerSettings),
    "rdkit": (AccessSettings, ServiceSettings, InputSettings),
    "pymatgen": (AccessSettings, ServiceSettings),
    "ase": (AccessSettings, ServiceSettings),
    "structures": (AccessSettings, ServiceSettings, InputSettings),
    "benchmarks": (AccessSettings, ServiceSettings, BenchmarkSettings),
    "optimade": (AccessSettings, ServiceSettings, OptimadeSettings),
    "chemeleon": (AccessSettings, ServiceSettings, ChemeleonSettings),
    "mattergen": (AccessSettings, ServiceSettings, MatterGenSettings),
    "crystalflow": (AccessSettings, ServiceSettings, CrystalFlowSettings),
    "moldiff": (AccessSettings, ServiceSettings, MolDiffSettings),
    "geodiff": (AccessSettings, ServiceSettings, GeoDiffSettings),
}
EXCEPTIONS = {
    "DISTILLERY_GATEWAY_PATIENCE": "TRIES says how long the gateway goes on",
    "DISTILLERY_GATEWAY_CONNECT_SECONDS": "all containers are on one network",
    "DISTILLERY_GATEWAY_LOOK_UP": "containers find one another by their names",
    "DISTILLERY_GATEWAY_LEASE_SECONDS": "so they need no leases",
    "DISTILLERY_GATEWAY_VISIBLE_SECONDS": "they share a volume of one machine",
    "DISTILLERY_GATEWAY_API_KEY_FILE": "the key is a variable here",
    "DISTILLERY_API_KEY_FILE": "the key is a variable here",
    "DISTILLERY_PRIVATE_NETWORK": "the image says so",
    **{f"DISTILLERY_TLS_{name}": "their network is their own" for name in ("CERTIFICATE", "KEY", "CA", "CLIENT_CA")},
}
SPANS = {
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_TRACES_EXPORTER",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
}
"""OpenTelemetry's own variables, which every container has; not OTEL_SERVICE_NAME, for each is called by its own."""


def names_of(settings: tuple[type[BaseSettings], ...]) -> set[str]:
    return {kind.model_config["env_prefix"] + field.upper() for kind in settings for field in kind.model_fields}


@pytest.mark.parametrize("service", SERVICES)
def test_every_setting_of_a_container_is_in_compose_yaml_or_an_exception(service: str) -> None:
    known = names_of(SETTINGS[service])
    assert SERVICES[service]["environment"].keys() == SPANS | known - EXCEPTIONS.keys()


def test_the_models_profile_starts_only_what_is_ready_with_the_defaults() -> None:
    found = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert {name for name, profiles in found.items() if profiles == ["models"]} == {"mattergen", "chemeleon", "moldiff", "geodiff"}
    assert found["crystalflow"] == ["crystalflow"]
    for name in ("mattergen", "chemeleon", "moldiff", "geodiff"):
        assert not SERVICES[name]["environment"][f"DISTILLERY_{name.upper()}_CHECKPOINT"].endswith(":-}")


def test_every_exception_is_a_setting() -> None:
    assert EXCEPTIONS.keys() <= set.union(*(names_of(settings) for settings in SETTINGS.values()))


def test_an_empty_variable_is_an_absent_one(monkeypatch: pytest.MonkeyPatch) -> None:
    optional = {name for service in SERVICES.values() for name, value in service["environment"].items() if value is None}
    before = GatewaySettings(), LabellerSettings(), ServiceSettings(), OptimadeSettings()
    for name in optional:
        monkeypatch.setenv(name, "")
    assert (GatewaySettings(), LabellerSettings(), ServiceSettings(), OptimadeSettings()) == before
    assert optional - SPANS <= names_of((GatewaySettings, LabellerSettings, ServiceSettings, OptimadeSettings))
