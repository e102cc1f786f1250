"""The compose files: every combination is valid, hardened, and agrees with the settings that processes read."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic_settings import BaseSettings

from distillery.generators.inputs import InputSettings
from distillery.generators.settings import ServiceSettings
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
from tests.containers.engine import EVERYTHING, ROOT, SERVICES, read_config
from tests.unit.test_compose import SPANS
from tests.upstream import CHECKED_OUT
from tests.upstream import MODELS as MODEL_NAMES

CPU, GPU = ("compose.yaml",), ("compose.yaml", "compose.gpu.yaml")
UPSTREAM = ("compose.yaml", "compose.upstream.yaml")
COMBINATIONS = [
    (CPU, ()),
    (GPU, ()),
    (CPU, EVERYTHING),
    (GPU, EVERYTHING),
    (UPSTREAM, EVERYTHING),
    ((*GPU, "compose.upstream.yaml"), EVERYTHING),
]
MODELS: list[type[BaseSettings]] = [ChemeleonSettings, CrystalFlowSettings, GeoDiffSettings, MatterGenSettings, MolDiffSettings]
SERVICES_OWN: list[type[BaseSettings]] = [InputSettings, BenchmarkSettings, OptimadeSettings, *MODELS]
SETTINGS: list[type[BaseSettings]] = [AccessSettings, GatewaySettings, LabellerSettings, ServiceSettings, *SERVICES_OWN]

pytestmark = pytest.mark.usefixtures("engine")


@pytest.fixture(params=COMBINATIONS, ids=lambda c: "+".join((*c[0], *c[1])))
def services(request: pytest.FixtureRequest) -> dict[str, Any]:
    files, profiles = request.param
    found: dict[str, Any] = read_config(*files, profiles=profiles)["services"]
    return found


@pytest.mark.parametrize("files", [CPU, GPU])
def test_gateway_labeller_and_every_service_is_a_container(files: tuple[str, ...]) -> None:
    services = read_config(*files, profiles=EVERYTHING)["services"]
    assert services.keys() == {"gateway", "labeller", *SERVICES}
    for name, service in services.items():
        assert (ROOT / service["build"]["dockerfile"]).is_file(), name
        assert service["build"].get("args", {}).get("SERVICE") == (name if name in SERVICES else None), name


def test_only_the_gateway_publishes_a_port_on_loopback(services: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert list(published) == ["gateway"]
    assert [port["host_ip"] for port in published["gateway"]] == ["127.0.0.1"]


def test_every_container_is_hardened_and_bounded(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert int(service["mem_limit"]) >= 1 << 30, name
        assert service["stop_grace_period"] == "30s", name
        assert all(mount["type"] == "volume" or mount["read_only"] for mount in service.get("volumes", [])), name
        assert not {"privileged", "cap_add", "network_mode", "pid", "container_name", "user"} & service.keys(), name


def test_what_containers_are_told_is_what_their_settings_know(services: dict[str, Any]) -> None:
    known = {"DISTILLERY_SERVICE_INPUTS"} | {
        kind.model_config["env_prefix"] + name.upper() for kind in SETTINGS for name in kind.model_fields
    }
    told = {variable for service in services.values() for variable in service["environment"]}
    assert told - SPANS <= known


def test_gpus_go_to_the_labeller_with_orb_v2() -> None:
    labeller = read_config(*GPU)["services"]["labeller"]
    (device,) = labeller["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert labeller["environment"]["DISTILLERY_LABELLER_TEACHER"] == "orb-v2"
    assert labeller["environment"]["DISTILLERY_LABELLER_DEVICE"] == "cuda"
    assert labeller["read_only"] is True


def test_models_have_a_gpu_and_their_weights_and_start_only_when_asked_for() -> None:
    services = read_config(*GPU, profiles=EVERYTHING)["services"]
    for name in MODEL_NAMES:
        assert services[name]["profiles"] == ["crystalflow" if name == "crystalflow" else "models"]
        assert services[name]["environment"][f"DISTILLERY_{name.upper()}_DEVICE"] == "cuda"
        assert [mount["target"] for mount in services[name]["volumes"]] == ["/weights"]
    assert not set(MODEL_NAMES) & read_config(*CPU)["services"].keys()


def test_every_container_with_a_gpu_has_one_that_a_variable_names() -> None:
    env = {"DISTILLERY_MATTERGEN_GPU": "3", "DISTILLERY_LABELLER_GPU": "1"}
    services = read_config(*GPU, profiles=EVERYTHING, env=env)["services"]
    chosen = {}
    for name, service in services.items():
        for device in service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", []):
            assert "count" not in device
            chosen[name] = device["device_ids"]
    assert chosen == {"labeller": ["1"], "mattergen": ["3"], "chemeleon": ["0"], "crystalflow": ["0"], "moldiff": ["0"], "geodiff": ["0"]}


def test_the_documented_second_labeller_is_the_first_on_another_gpu(tmp_path: Path) -> None:
    (text,) = re.findall(r"^```yaml\n(# gpu-1.yaml.*?)^```", (ROOT / "docs/docker.md").read_text(), re.MULTILINE | re.DOTALL)
    file = tmp_path / "gpu-1.yaml"
    file.write_text(text.replace("file: compose.yaml", f"file: {ROOT / 'compose.yaml'}"))
    services = read_config(*GPU, str(file))["services"]
    first, second = services["labeller"], services["labeller-1"]
    assert second["networks"]["default"]["aliases"] == ["labeller"]
    assert [d["device_ids"] for d in second["deploy"]["resources"]["reservations"]["devices"]] == [["1"]]
    assert {key: second[key] for key in ("image", "environment", "volumes")} == {
        key: first[key] for key in ("image", "environment", "volumes")
    }


def test_upstream_code_that_is_in_no_package_may_come_from_a_folder() -> None:
    services = read_config(*UPSTREAM, profiles=EVERYTHING, env={"DISTILLERY_UPSTREAM": "/checkouts"})["services"]
    for name in CHECKED_OUT:
        contexts = services[name]["build"]["additional_contexts"]
        assert contexts["upstream"] == f"/checkouts/{name}"
        assert contexts["wheels"].endswith("docker/wheels")


def test_env_example_names_every_variable_with_its_default() -> None:
    text = "".join((ROOT / file).read_text() for file in (*GPU, "compose.upstream.yaml"))
    own = (ROOT / "compose.yaml").read_text().replace("${DISTILLERY_LABELLER_FAMILY:-default}", "")  # what a build makes of an empty one
    used = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", own))
    used |= dict.fromkeys(re.findall(r"^ +(DISTILLERY_\w+):$", text, re.MULTILINE), "")
    used |= {name: default for name, default in re.findall(r"\$\{(\w+):-([^}]*)\}", text) if name not in used}
    example = dict(re.findall(r"^#(DISTILLERY_\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert example == used


def test_variables_reach_the_containers() -> None:
    env = {
        "DISTILLERY_ADDRESS": "0.0.0.0",
        "DISTILLERY_PORT": "9000",
        "DISTILLERY_API_KEY": "a key for the tests",
        "DISTILLERY_SERVICE_WORKERS": "3",
    }
    services = read_config("compose.yaml", env=env)["services"]
    (port,) = services["gateway"]["ports"]
    assert (port["host_ip"], port["published"]) == ("0.0.0.0", "9000")
    assert services["gateway"]["environment"]["DISTILLERY_GATEWAY_PUBLISHED"] == "0.0.0.0"
    assert services["gateway"]["environment"]["DISTILLERY_GATEWAY_API_KEY"] == "a key for the tests"
    assert services["rdkit"]["environment"]["DISTILLERY_SERVICE_WORKERS"] == "3"
