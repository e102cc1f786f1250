"""Digests of what services make, in a process of its own: `python -m tests.processors NAME… [--without-pins]`.

A process of its own, as the libraries look at the processor, and at the variables that hide features of it, when they are loaded.
"""

import hashlib
import json
import sys
from collections.abc import Sequence

import httpx
import numpy as np
from fastapi import FastAPI

from distillery.generators import workers
from distillery.generators.plugins import build_service
from tests.serving import serve

MODERN = {"OPENBLAS_CORETYPE": "Haswell", "NPY_DISABLE_CPU_FEATURES": ""}
OLD = {
    "OPENBLAS_CORETYPE": "Prescott",
    "NPY_DISABLE_CPU_FEATURES": " ".join(np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])),
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-FMA,-AVX2,-FMA4,-AVX",
}
"""What makes this processor look like one of 2013 or later, and like one of 2004."""


def digest_all(names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Of each service and system, the sha256 of 12 structures; all are built first, so that they share a fork server."""
    apps = {name: build_service(name) for name in names}
    return {name: digest_structures(app) for name, app in apps.items()}


def digest_structures(app: FastAPI) -> dict[str, str]:
    """Of each system of a service, the sha256 of 12 structures."""
    with serve(app) as url, httpx.Client(base_url=url, timeout=300) as client:
        systems = client.get("/v1/metadata").json()["systems"]
        request = {"n": 12, "seed": 5, "perturb": {"rattle": 0.05, "strain": 0.03}, "max_atoms": 100}
        headers = {"Accept": "application/json"}
        answers = {system: client.post("/generate", json={**request, "system": system}, headers=headers) for system in systems}
    made = {system: answer.raise_for_status().json()["structures"] for system, answer in answers.items()}
    return {system: hashlib.sha256(json.dumps(structures).encode()).hexdigest() for system, structures in made.items()}


if __name__ == "__main__":
    names = sys.argv[1:]
    if "--without-pins" in names:
        names.remove("--without-pins")
        workers._PINNED_MACHINE = "none"
    print(json.dumps(digest_all(names)))
