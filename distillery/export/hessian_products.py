"""Products of Hessians with random directions, as trainers on curvature take them: a vector a structure in the place of a matrix."""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distillery.dataset.blocks import Block
from distillery.dataset.hessians import read_hessians
from distillery.dataset.layout import HESSIANS, open_dataset

Vectors = NDArray[np.float64]


def has_hessians(dataset: Path | str) -> bool:
    """Whether any structure may have one."""
    with open_dataset(dataset) as file:
        return HESSIANS in file


def draw_probe(id: str, n_atoms: int) -> Vectors:
    """A direction for the structure of this id, shape (n_atoms, 3): every component standard normal, always the same.

    So the mean of v·Hv over structures estimates the traces of their Hessians (Hutchinson), and the mean of |Hv|² their squared norms.
    """
    seed = int.from_bytes(hashlib.blake2b(id.encode(), digest_size=8).digest(), "little")
    return np.random.default_rng(seed).standard_normal((n_atoms, 3))


def multiply_hessians(dataset: Path | str, block: Block) -> tuple[Vectors, Vectors]:
    """Directions v, of no unit, and products H v, eV/Å², of a block's structures, shape (n_atoms of the block, 3) each.

    Of a structure without a Hessian the direction is zero, so that no model's own product of it is lost, and the product is nan.
    """
    probes, products = np.zeros((len(block.numbers), 3)), np.full((len(block.numbers), 3), np.nan)
    for k, hessian in enumerate(read_hessians(dataset, block.indices)):
        if hessian is not None:
            atoms = block.rows(k)
            probes[atoms] = draw_probe(block.texts["id"][k], atoms.stop - atoms.start)
            products[atoms] = (hessian.astype(np.float64) @ probes[atoms].ravel()).reshape(-1, 3)
    return probes, products
