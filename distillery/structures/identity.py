"""Identity of structures: seeds, structure hashes and digests. Identity is defined on structures, never on labels."""

import hashlib
from collections.abc import Iterable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from distillery.structures.geometry import Neighbours, find_pairs
from distillery.structures.structure import Structure

# Both numbers are irrational-like on purpose: lattice constants people choose (5.43 Å, 2.715 Å) never lie on a limit.
HASH_CUTOFF = 5.0038196601
HASH_STEP = 0.01
_GRID_SHIFT = 0.3819660113
_STEP_BITS, _TOKEN_BITS = 32, 40
"""Bits of a distance's step on the grid, and of it with the neighbour's element; so atom, element and step are sorted as one number."""


def derive_seed(recipe_seed: int, source: str, index: int) -> int:
    """A shard's seed, in [0, 2**63): a keyed hash of the recipe's seed, the source's name and the shard's index."""
    key = recipe_seed.to_bytes(8, "little")
    digest = hashlib.blake2b(f"{source}\0{index}".encode(), key=key, digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def structure_hash(structure: Structure, neighbours: Neighbours | None = None) -> str:
    """32 hex digits, the same for the same structure in another order, orientation, place or cell.

    Every atom is described by its element and its sorted (element, distance) neighbours within 5 Å, distances on a
    0.01 Å grid; the hash is over the sorted descriptions and their multiplicities. In periodic structures the
    multiplicities are divided by their greatest common divisor, so a supercell equals its unit cell. Mirror images
    are equal too, as are their energies. A charge, or more than the lowest spin, makes another structure of the same atoms.
    `neighbours` are the structure's, to HASH_CUTOFF, where others want them too.
    """
    environments, counts = np.unique(_environments(structure, neighbours), return_counts=True)
    n_cells = int(np.gcd.reduce(counts)) if structure.is_periodic and counts.size else 1
    counts = counts // n_cells
    text = hashlib.blake2b(digest_size=16)
    text.update(f"{structure.system if structure.is_periodic else 'finite'}:{structure.pbc}".encode())
    text.update(environments.tobytes() + counts.astype("<i8").tobytes())
    if not structure.is_plain:
        text.update(_describe_state(structure, n_cells))
    return text.hexdigest()


def _describe_state(structure: Structure, n_cells: int) -> bytes:
    """Charge and unpaired electrons of a cell, none of these where the spin is the lowest."""
    is_lowest = structure.multiplicity in (0, structure.lowest_multiplicity)
    n_unpaired = 0 if is_lowest else structure.multiplicity - 1
    return f"charge {Fraction(structure.charge, n_cells)}, {Fraction(n_unpaired, n_cells)} unpaired".encode()


def _environments(structure: Structure, neighbours: Neighbours | None = None) -> NDArray[np.uint64]:
    """The digest of every atom's element and sorted (element, distance) neighbours, shape (n_atoms,)."""
    pairs = find_pairs(structure, HASH_CUTOFF) if neighbours is None else neighbours.within(HASH_CUTOFF)
    tokens = np.floor(pairs.distance / HASH_STEP + _GRID_SHIFT).astype(np.int64)
    tokens += (structure.numbers.astype(np.int64) << _STEP_BITS)[pairs.j]
    tokens += pairs.i << _TOKEN_BITS
    tokens.sort(kind="stable")  # atom by atom, as pairs come: much is in order already
    tokens &= (1 << _TOKEN_BITS) - 1
    content = tokens.astype("<i8", copy=False).tobytes()
    ends = [0, *(8 * np.cumsum(np.bincount(pairs.i, minlength=len(structure)))).tolist()]
    own = zip(structure.numbers.tolist(), ends, ends[1:], strict=False)
    digests = [hashlib.blake2b(content[start:end], key=bytes((number,)), digest_size=8).digest() for number, start, end in own]
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64, copy=False)


def find_proposal(id: str) -> str:
    """The id of the proposal that a structure was made of: `<shard>/<nnnn>`, itself or of its frames `<shard>/<nnnn>/<k>`."""
    return "/".join(id.split("/")[:2])


def find_place(id: str) -> str:
    """Where in its shard a proposal is: the <nnnn> of `<shard>/<nnnn>`, of its frames too."""
    return find_proposal(id).partition("/")[2]


def digest_structures(ids: Iterable[str], hashes: Iterable[str]) -> str:
    """sha256 over ids and structure hashes, in order: two runs made the same structures if and only if these agree."""
    digest = hashlib.sha256()
    for id, hash in zip(ids, hashes, strict=True):
        digest.update(f"{id}\0{hash}\n".encode())
    return digest.hexdigest()
