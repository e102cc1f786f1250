"""deploy/kubernetes has what compose.yaml has, renders, and is what the published schemas want."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
SERVICES = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
VERSIONS = ("1.31", "1.36")
OVERLAYS = ("overlays/cpu", "overlays/gpu", "overlays/models", "overlays/autoscaled", "job")
sys.path.insert(0, str(ROOT / "scripts"))


def read_all() -> list[dict[str, Any]]:
    return [one for path in sorted(FOLDER.rglob("*.yaml")) for one in yaml.safe_load_all(path.read_text()) if "apiVersion" in (one or {})]


def test_they_are_those_made_from_compose() -> None:
    from kubernetes import make_all

    made = make_all()
    assert {path: (FOLDER / path).read_text() for path in made} == made, "run `make kubernetes`"


def test_every_container_that_starts_by_itself_or_as_a_model_is_there() -> None:
    found = {one["metadata"]["name"] for one in read_all() if one["kind"] == "Deployment"}
    assert found == {name for name, service in SERVICES.items() if service.get("profiles", ["models"]) == ["models"]}


def render(overlay: str) -> list[dict[str, Any]]:
    """What `kubectl apply -k` would send."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run(["kubectl", "kustomize", str(FOLDER / overlay)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_is_rendered_is_what_the_schemas_want(overlay: str, version: str) -> None:
    for resource in render(overlay):
        if resource["apiVersion"] != "keda.sh/v1alpha1":  # Kubernetes does not publish its schema
            kubernetes_validate.validate(resource, version, strict=True)


def test_a_labeller_of_the_gpu_overlay_has_one_and_keeps_its_other_settings() -> None:
    (labeller,) = [one for one in render("overlays/gpu") if one["kind"] == "Deployment" and one["metadata"]["name"] == "labeller"]
    (container,) = labeller["spec"]["template"]["spec"]["containers"]
    settings = {one["name"]: one.get("value") for one in container["env"]}
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert settings["DISTILLERY_LABELLER_TEACHER"] == "orb-v2"
    assert settings["DISTILLERY_LABELLER_DATA"] == "/data"


def test_every_container_is_held_as_in_compose_and_has_the_key() -> None:
    pods = [one["spec"]["template"]["spec"] for one in read_all() if one["kind"] in {"Deployment", "Job"} and "selector" in one["spec"]]
    assert len(pods) == sum(service.get("profiles", ["models"]) == ["models"] for service in SERVICES.values())
    for pod in pods:
        (container,) = pod["containers"]
        held = container["securityContext"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert held["readOnlyRootFilesystem"]
        assert held["capabilities"] == {"drop": ["ALL"]}
        assert any(setting.get("valueFrom") for setting in container["env"])
        probe = container["startupProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] == 3600
