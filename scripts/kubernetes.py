"""`make kubernetes`: deploy/kubernetes/base and models, made from compose.yaml so that both have the same containers and settings."""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "kubernetes"
PORT = 8000
_HOUR = 360
"""Failures of a probe every 10 s: an hour, in which labeller and models fetch weights at their first start."""
_USER = 10001
_SHARED = ("data", "weights")
_OWN_SETTINGS = {
    "DISTILLERY_GATEWAY_PUBLISHED": "0.0.0.0",  # so that it refuses to start without a key
    "DISTILLERY_GATEWAY_OPEN_METRICS": "true",
    "DISTILLERY_OPEN_METRICS": "true",  # the network policy says who reaches them
}
_KEYS = ("DISTILLERY_API_KEY", "DISTILLERY_GATEWAY_API_KEY")
_HEAD = "# Made from compose.yaml by `make kubernetes`; overlays change it.\n"
Resource = dict[str, Any]


def make_all() -> dict[str, str]:
    """The text of every file, by its path below deploy/kubernetes."""
    services: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    made: dict[str, str] = {}
    for folder, names in (
        ("base", [name for name in services if "profiles" not in services[name]]),
        ("models", [name for name in services if services[name].get("profiles") == ["models"]]),
    ):
        for name in names:
            made[f"{folder}/{name}.yaml"] = _dump(describe_service(name, services[name]))
        listed = [f"{name}.yaml" for name in names] + (["shared.yaml"] if folder == "base" else [])
        made[f"{folder}/kustomization.yaml"] = _dump([_kustomize(listed)])
    made["base/shared.yaml"] = _dump(describe_shared())
    return made


def describe_service(name: str, service: dict[str, Any]) -> list[Resource]:
    """Deployment, Service and disruption budget of one container of compose.yaml."""
    labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "distillery"}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "strategy": {"type": "Recreate" if name == "gateway" else "RollingUpdate"},  # two gateways make no dataset together
            "template": {"metadata": {"labels": labels, "annotations": _scrape()}, "spec": _describe_pod(name, service)},
        },
    }
    # Headless: the gateway sees every replica and sends each request to the one that has least to do.
    headless = {} if name == "gateway" else {"clusterIP": "None"}
    port = {"name": "http", "port": PORT, "targetPort": "http"}
    found = [deployment, _resource("v1", "Service", name, labels, {**headless, "selector": labels, "ports": [port]})]
    if name != "gateway":
        found.append(
            _resource("policy/v1", "PodDisruptionBudget", name, labels, {"maxUnavailable": 1, "selector": {"matchLabels": labels}})
        )
    return found


def _describe_pod(name: str, service: dict[str, Any]) -> Resource:
    memory, temporary = _read_default(service["mem_limit"]), _find_temporary(service)
    mounts, volumes = _find_volumes(service)
    container = {
        "name": name,
        "image": f"distillery-{name}:latest",
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": "http", "containerPort": PORT}],
        "env": _list_settings(service),
        "resources": {"requests": {"cpu": "1", "memory": _gibibytes(memory)}, "limits": {"memory": _gibibytes(memory)}},
        "startupProbe": _probe("ready", _HOUR),
        "readinessProbe": _probe("ready", 3),
        "livenessProbe": _probe("live", 6),
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, *mounts],
    }
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": {
            **dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup"), _USER),
            "runAsNonRoot": True,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": temporary}}, *volumes],
    }


def _list_settings(service: dict[str, Any]) -> list[Resource]:
    """Those of compose.yaml that have a value there; the key from the Secret."""
    found: list[Resource] = []
    for name, value in service["environment"].items():
        if name in _KEYS:
            found.append({"name": name, "valueFrom": {"secretKeyRef": {"name": "distillery", "key": "api-key"}}})
        elif given := _OWN_SETTINGS.get(name) or _read_default(value):
            found.append({"name": name, "value": given})
    return found


def _find_volumes(service: dict[str, Any]) -> tuple[list[Resource], list[Resource]]:
    """Mounts and volumes: the shared claims; what compose.yaml mounts of the host (files that recipes name) is an empty folder."""
    mounts, volumes = [], []
    for volume in service.get("volumes", ()):
        source, target = re.sub(r"\$\{[^}]*\}", "host", volume).split(":")[:2]
        name = source if source in _SHARED else target.strip("/")
        mounts.append({"name": name, "mountPath": target})
        volumes.append({"name": name, **({"persistentVolumeClaim": {"claimName": name}} if source in _SHARED else {"emptyDir": {}})})
    return mounts, volumes


def describe_shared() -> list[Resource]:
    """The volumes, and who may reach whom."""
    labels = {"app.kubernetes.io/part-of": "distillery"}
    claims = [
        _resource(
            "v1", "PersistentVolumeClaim", name, labels, {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": size}}}
        )
        for name, size in (("data", "100Gi"), ("weights", "50Gi"))
    ]
    ours, clients = {"podSelector": {"matchLabels": labels}}, {"podSelector": {"matchLabels": {"distillery-client": "true"}}}
    watchers = {"namespaceSelector": {"matchLabels": {"distillery-metrics": "true"}}}
    ingress = [{"from": [ours, clients, watchers], "ports": [{"port": PORT}]}]
    policy = {"podSelector": {"matchLabels": labels}, "policyTypes": ["Ingress"], "ingress": ingress}
    no_way_out = {"podSelector": {"matchExpressions": [_one_of("rdkit", "pymatgen", "ase")]}, "policyTypes": ["Egress"]}
    return [
        *claims,
        _resource("networking.k8s.io/v1", "NetworkPolicy", "distillery", labels, policy),
        _resource("networking.k8s.io/v1", "NetworkPolicy", "makers-ask-nobody", labels, no_way_out),
    ]


def _one_of(*names: str) -> Resource:
    return {"key": "app.kubernetes.io/name", "operator": "In", "values": list(names)}


def _resource(version: str, kind: str, name: str, labels: dict[str, str], spec: Resource) -> Resource:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": labels}, "spec": spec}


def _kustomize(resources: list[str]) -> Resource:
    return {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": resources}


def _probe(what: str, failures: int) -> Resource:
    return {
        "httpGet": {"path": f"/v1/health/{what}", "port": "http"},
        "periodSeconds": 10,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _scrape() -> dict[str, str]:
    return {"prometheus.io/scrape": "true", "prometheus.io/port": str(PORT), "prometheus.io/path": "/metrics"}


def _read_default(value: object) -> str:
    """What compose.yaml gives where the environment has nothing."""
    text = "" if value is None else str(value)
    found = re.fullmatch(r"\$\{\w+(?::-(.*))?\}", text)
    return (found[1] or "") if found else text


def _find_temporary(service: dict[str, Any]) -> str:
    (mount,) = service["tmpfs"]
    return _gibibytes(mount.rpartition("size=")[2])


def _gibibytes(size: str) -> str:
    """compose's 8g as Kubernetes has it."""
    return f"{size.removesuffix('g')}Gi"


class _Plain(yaml.SafeDumper):
    """Without aliases, which people do not read."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _dump(resources: list[Resource]) -> str:
    return _HEAD + yaml.dump_all(resources, Dumper=_Plain, sort_keys=False, width=140)


if __name__ == "__main__":
    for path, text in make_all().items():
        target = FOLDER / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
