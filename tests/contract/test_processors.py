"""numpy and OpenBLAS choose kernels by the processor; the structures of a request must not show which."""

import httpx
import numpy as np
import pytest

from distillery.generators.plugins import build_service
from tests.contract.test_services import SERVICES
from tests.serving import serve
from tests.upstream import MODELS

FEATURES = np.show_config(mode="dicts")["SIMD Extensions"]
PROCESSORS = [
    {"OPENBLAS_CORETYPE": "Haswell", "NPY_DISABLE_CPU_FEATURES": ""},
    {"OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": " ".join(FEATURES.get("found", []))},
]
"""What makes this processor look like a modern one and like one of 2004."""


@pytest.mark.parametrize("name", [name for name in SERVICES if name not in MODELS])
def test_another_processor_gives_the_same_bytes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLERY_SERVICE_WORKERS", "1")
    made = []
    for processor in PROCESSORS:
        for variable, value in processor.items():
            monkeypatch.setenv(variable, value)
        with serve(build_service(name)) as url, httpx.Client(base_url=url, timeout=300) as client:
            systems = client.get("/v1/metadata").json()["systems"]
            request = {"n": 12, "seed": 5, "perturb": {"rattle": 0.05, "strain": 0.03}}
            answers = [client.post("/generate", json={**request, "system": system, "max_atoms": 100}) for system in systems]
            made.append([answer.raise_for_status().content for answer in answers])
    assert made[0] == made[1]
