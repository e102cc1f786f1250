"""How MolDiff numbers the atoms and pairs of a batch of molecules, and the molecules read back from it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Layout:
    """One batch. Pairs i < j of a molecule stand in the order of `torch.triu_indices`, numbered through the whole batch.

    batch_node      molecule of every atom, shape (n_atoms,)
    halfedge_index  both atoms of every pair, shape (2, n_pairs)
    batch_halfedge  molecule of every pair, shape (n_pairs,)
    """

    batch_node: Tensor
    halfedge_index: Tensor
    batch_halfedge: Tensor

    def to(self, device: str) -> "Layout":
        """The same on another device."""
        return Layout(self.batch_node.to(device), self.halfedge_index.to(device), self.batch_halfedge.to(device))


def lay_out(sizes: Sequence[int]) -> Layout:
    """The layout of molecules with these numbers of heavy atoms, each at least 2: upstream fails on a molecule without pairs."""
    if min(sizes) < 2:
        raise ValueError(f"every molecule needs at least 2 heavy atoms, got {min(sizes)}")
    starts = torch.tensor([0, *sizes[:-1]]).cumsum(0).tolist()
    pairs = [torch.triu_indices(n, n, offset=1) + start for n, start in zip(sizes, starts, strict=True)]
    molecules = torch.arange(len(sizes))
    return Layout(
        batch_node=molecules.repeat_interleave(torch.tensor(sizes)),
        halfedge_index=torch.cat(pairs, dim=1),
        batch_halfedge=molecules.repeat_interleave(torch.tensor([p.shape[1] for p in pairs])),
    )
