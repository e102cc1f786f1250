"""Structures, records and requests for the labeller's tests."""

import threading
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
from ase.build import bulk, molecule

from distillery.structures.arrow import ARROW_TYPE, to_arrow
from distillery.structures.structure import Structure, from_ase

RECIPE = "a" * 64
NEVER = threading.Event()
"""A stop that is not set."""


def water(id: str) -> Structure:
    return _molecule("H2O", id)


def methane(id: str) -> Structure:
    return _molecule("CH4", id)


def _molecule(name: str, id: str) -> Structure:
    return from_ase(molecule(name), id=id, system="molecule", origin={"name": name})


def silicon(id: str, n: int = 1, seed: int | None = None) -> Structure:
    atoms = bulk("Si", cubic=True) * (n, 1, 1)
    if seed is not None:
        atoms.rattle(0.05, rng=np.random.default_rng(seed))
    return from_ase(atoms, id=id, system="crystal", origin={"prototype": "diamond"})


def one_atom(id: str) -> Structure:
    return Structure(id=id, numbers=np.array([10 - 1], np.uint8), positions=np.zeros((1, 3)))


def mixed(part: str, n: int) -> list[Structure]:
    """Waters, methanes and rattled silicons, all different."""
    makers = (water, methane, silicon)
    made = []
    for i in range(n):
        s = makers[i % 3](f"{part}/{i:04d}")
        made.append(moved(s, np.random.default_rng(i).normal(0, 0.03, s.positions.shape)))
    return made


def moved(structure: Structure, by: Any) -> Structure:
    return replace(structure, positions=structure.positions + by)


def record(**change: Any) -> dict[str, Any]:
    return {
        "recipe_sha256": RECIPE,
        "stage": "full",
        "source": "molecules",
        "service": "rdkit",
        "system": "molecule",
        "seed": 7,
        "start": 0,
        "round": 0,
        "requested": 10,
        "generated": 10,
        "generate_seconds": 0.5,
        "service_version": "1.0",
        "service_versions": {"rdkit": "2025.9"},
        **change,
    }


def label(client: httpx.Client, part: str, structures: list[Structure], dataset: str = "d", **change: Any) -> httpx.Response:
    return client.post(
        "/label",
        params={"dataset": dataset, "part": part},
        content=to_arrow(structures, record(**change)),
        headers={"Content-Type": ARROW_TYPE},
    )


def receipt(client: httpx.Client, part: str, structures: list[Structure], **change: Any) -> dict[str, Any]:
    response = label(client, part, structures, **change)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer
