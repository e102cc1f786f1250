"""Pure-torch replacements of the functions of torch_scatter, torch_sparse and torch_cluster that the four models call.

The compiled packages have no wheels for current torch. `install` puts these in their place, in this process only;
semantics follow the packages' documentation, deterministic on CPU.
"""

import sys
from types import ModuleType
from typing import Literal

import torch
from torch import Tensor

Reduce = Literal["sum", "add", "mean", "min", "max", "mul"]
_TORCH_NAMES = {"sum": "sum", "add": "sum", "mean": "mean", "min": "amin", "max": "amax", "mul": "prod"}


def scatter(src: Tensor, index: Tensor, dim: int = -1, out: None = None, dim_size: int | None = None, reduce: Reduce = "sum") -> Tensor:
    """Reduce the entries of `src` with the same `index` along `dim`; groups without entries are 0 (1 for "mul").

    The gradient of "min" and "max" goes to the first of equal entries; the "mean" of integers is rounded down.
    """
    _refuse_out(out)
    dim = dim % src.dim()
    index = _broadcast(index, src, dim)
    start = _start(src, index, dim, dim_size, 1 if reduce == "mul" else 0)
    if reduce in {"min", "max"}:
        return _find_extremes(src, index, dim, start, reduce)[0]
    if reduce in {"sum", "add"}:
        return start.scatter_add_(dim, index, src)
    return start.scatter_reduce_(dim, index, src, _TORCH_NAMES[reduce], include_self=False)


def scatter_add(src: Tensor, index: Tensor, dim: int = -1, out: None = None, dim_size: int | None = None) -> Tensor:
    """`scatter` by sum."""
    return scatter(src, index, dim, out, dim_size, "sum")


scatter_sum = scatter_add


def scatter_mean(src: Tensor, index: Tensor, dim: int = -1, out: None = None, dim_size: int | None = None) -> Tensor:
    """`scatter` by mean."""
    return scatter(src, index, dim, out, dim_size, "mean")


def scatter_max(src: Tensor, index: Tensor, dim: int = -1, out: None = None, dim_size: int | None = None) -> tuple[Tensor, Tensor]:
    """The largest entries and their first position along `dim`; groups without entries are 0 and `src.size(dim)`."""
    _refuse_out(out)
    dim = dim % src.dim()
    index = _broadcast(index, src, dim)
    return _find_extremes(src, index, dim, _start(src, index, dim, dim_size, 0), "max")


def scatter_softmax(src: Tensor, index: Tensor, dim: int = -1, dim_size: int | None = None) -> Tensor:
    """Softmax over the entries with the same `index`."""
    dim = dim % src.dim()
    index = _broadcast(index, src, dim)
    largest = scatter(src.detach(), index, dim, None, dim_size, "max").gather(dim, index)
    exponentials = (src - largest).exp()
    return exponentials / scatter(exponentials, index, dim, None, dim_size, "sum").gather(dim, index)


def segment_coo(src: Tensor, index: Tensor, out: None = None, dim_size: int | None = None, reduce: Reduce = "sum") -> Tensor:
    """`scatter` along the last dimension of a sorted `index`."""
    return scatter(src, index, index.dim() - 1, out, dim_size, reduce)


def segment_csr(src: Tensor, indptr: Tensor, out: None = None, reduce: Reduce = "sum") -> Tensor:
    """Reduce `src[indptr[i]:indptr[i + 1]]` along the last dimension of a one-dimensional `indptr`."""
    _refuse_out(out)
    if indptr.dim() != 1:
        raise NotImplementedError("this segment_csr takes one-dimensional pointers only")
    counts = indptr.diff()
    return scatter(src[indptr[0] : indptr[-1]], _count_off(counts)[0], 0, None, len(counts), reduce)


def coalesce(index: Tensor, value: Tensor | None, m: int, n: int, op: Reduce = "add") -> tuple[Tensor, Tensor | None]:
    """Sort the entries of an m x n matrix by row and column and reduce those that occur more than once."""
    flat, place = torch.unique(index[0] * n + index[1], return_inverse=True)
    merged = torch.stack([flat // n, flat % n])
    return merged, None if value is None else scatter(value, place, 0, None, len(flat), op)


class SparseTensor:
    """A sparse matrix: entries sorted by row and column, whole rows taken by `matrix[rows]`."""

    def __init__(self, row: Tensor, col: Tensor, value: Tensor, sparse_sizes: tuple[int, int]) -> None:
        order = torch.argsort(row * sparse_sizes[1] + col, stable=True)
        self._row, self._col, self._value = row[order], col[order], value[order]
        self.sparse_sizes = sparse_sizes
        self.storage = self

    def row(self) -> Tensor:
        """Row of every entry."""
        return self._row

    def col(self) -> Tensor:
        """Column of every entry."""
        return self._col

    def value(self) -> Tensor:
        """Value of every entry."""
        return self._value

    def to(self, device: torch.device) -> "SparseTensor":
        """The same matrix on another device."""
        return SparseTensor(self._row.to(device), self._col.to(device), self._value.to(device), self.sparse_sizes)

    def __getitem__(self, rows: Tensor) -> "SparseTensor":
        counts = torch.bincount(self._row, minlength=self.sparse_sizes[0])
        starts = counts.cumsum(0) - counts
        new_row, within = _count_off(counts[rows])
        entries = starts[rows][new_row] + within
        return SparseTensor(new_row, self._col[entries], self._value[entries], (len(rows), self.sparse_sizes[1]))


def matmul(matrix: SparseTensor, dense: Tensor) -> Tensor:
    """`matrix` times `dense` of shape (columns, ...)."""
    values = matrix.value().view(-1, *[1] * (dense.dim() - 1))
    return scatter(values * dense[matrix.col()], matrix.row(), 0, None, matrix.sparse_sizes[0], "sum")


def radius(
    x: Tensor, y: Tensor, r: float, batch_x: Tensor | None = None, batch_y: Tensor | None = None, max_num_neighbors: int = 32
) -> Tensor:
    """For every row of `y` the rows of `x` closer than `r` in the same batch, at most the first `max_num_neighbors`: (2, n) of (y, x)."""
    pairs, distances = _find_pairs(x, y, batch_x, batch_y)
    near = pairs[:, distances < r]
    return near[:, _are_first(near[0], max_num_neighbors)]


def radius_graph(
    x: Tensor, r: float, batch: Tensor | None = None, loop: bool = False, max_num_neighbors: int = 32, flow: str = "source_to_target"
) -> Tensor:
    """Edges (2, n) between rows of `x` within `r` in the same batch."""
    edges = radius(x, x, r, batch, batch, max_num_neighbors if loop else max_num_neighbors + 1)
    return _as_graph(edges, loop, flow)


def knn(x: Tensor, y: Tensor, k: int, batch_x: Tensor | None = None, batch_y: Tensor | None = None) -> Tensor:
    """For every row of `y` the `k` nearest rows of `x` in the same batch (all if fewer), nearest first: (2, n) of (y, x)."""
    pairs, distances = _find_pairs(x, y, batch_x, batch_y)
    pairs = pairs[:, torch.argsort(distances, stable=True)]
    pairs = pairs[:, torch.argsort(pairs[0], stable=True)]
    return pairs[:, _are_first(pairs[0], k)]


def knn_graph(x: Tensor, k: int, batch: Tensor | None = None, loop: bool = False, flow: str = "source_to_target") -> Tensor:
    """Edges (2, n) of every row of `x` to its `k` nearest in the same batch."""
    return _as_graph(knn(x, x, k if loop else k + 1, batch, batch), loop, flow)


def install() -> None:
    """Let `import torch_scatter`, `torch_sparse` and `torch_cluster` find these, and torch_geometric's graphs use them."""
    import torch_geometric.nn
    import torch_geometric.nn.pool

    for name, functions in _MODULES.items():
        module = ModuleType(name, __doc__)
        for function in functions:
            setattr(module, function, globals()[function])
        sys.modules[name] = module
    for function in _MODULES["torch_cluster"]:
        setattr(torch_geometric.nn.pool, function, globals()[function])
        setattr(torch_geometric.nn, function, globals()[function])


_MODULES = {
    "torch_scatter": (
        "scatter",
        "scatter_add",
        "scatter_sum",
        "scatter_mean",
        "scatter_max",
        "scatter_softmax",
        "segment_coo",
        "segment_csr",
    ),
    "torch_scatter.composite": ("scatter_softmax",),
    "torch_sparse": ("SparseTensor", "coalesce", "matmul"),
    "torch_cluster": ("radius", "radius_graph", "knn", "knn_graph"),
}


def _refuse_out(out: None) -> None:
    if out is not None:
        raise NotImplementedError("these functions do not write to `out`")


def _broadcast(index: Tensor, src: Tensor, dim: int) -> Tensor:
    """`index` in the shape of `src`: one of one dimension lies along `dim`, one of more along the first dimensions."""
    if index.dim() == 1:
        index = index.view([-1 if d == dim else 1 for d in range(src.dim())])
    return index[(..., *[None] * (src.dim() - index.dim()))].expand_as(src)


def _start(src: Tensor, index: Tensor, dim: int, dim_size: int | None, value: int) -> Tensor:
    """The result before anything is reduced into it."""
    if dim_size is None:
        dim_size = int(index.max()) + 1 if index.numel() else 0
    return src.new_full((*src.shape[:dim], dim_size, *src.shape[dim + 1 :]), value)


def _find_extremes(src: Tensor, index: Tensor, dim: int, start: Tensor, reduce: Reduce) -> tuple[Tensor, Tensor]:
    """Smallest or largest entries and where they are first; 0 and `src.size(dim)` where there are none."""
    n = src.size(dim)
    first = torch.full_like(start, n, dtype=torch.long)
    if n == 0:
        return start, first
    with torch.no_grad():
        extremes = start.scatter_reduce(dim, index, src, _TORCH_NAMES[reduce], include_self=False).gather(dim, index)
        places = torch.arange(n, device=src.device).view([-1 if d == dim else 1 for d in range(src.dim())]).expand_as(src)
        first.scatter_reduce_(dim, index, torch.where(src == extremes, places, n), "amin", include_self=True)
    return src.gather(dim, first.clamp(max=n - 1)).masked_fill(first == n, 0), first


def _find_pairs(x: Tensor, y: Tensor, batch_x: Tensor | None, batch_y: Tensor | None) -> tuple[Tensor, Tensor]:
    """All (y, x) of the same batch, (2, n), by y then x, and their distances from differences, which are exact for equal points."""
    batch_x = torch.zeros(len(x), dtype=torch.long, device=x.device) if batch_x is None else batch_x
    batch_y = torch.zeros(len(y), dtype=torch.long, device=y.device) if batch_y is None else batch_y
    n_batches = 1 + max((int(batch.max()) for batch in (batch_x, batch_y) if len(batch)), default=0)
    n_x = torch.bincount(batch_x, minlength=n_batches)
    of_y, within = _count_off(n_x[batch_y])
    of_x = torch.argsort(batch_x, stable=True)[(n_x.cumsum(0) - n_x)[batch_y][of_y] + within]
    return torch.stack([of_y, of_x]), torch.linalg.vector_norm(y[of_y] - x[of_x], dim=-1)


def _count_off(counts: Tensor) -> tuple[Tensor, Tensor]:
    """For counts 2 0 3: the groups 0 0 2 2 2 and the places in them 0 1 0 1 2."""
    groups = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    return groups, torch.arange(len(groups), device=counts.device) - (counts.cumsum(0) - counts)[groups]


def _are_first(groups: Tensor, k: int) -> Tensor:
    """Which entries are among the first k of their group; `groups` is sorted."""
    return _count_off(torch.bincount(groups))[1] < k


def _as_graph(edges: Tensor, loop: bool, flow: str) -> Tensor:
    centre, neighbour = edges
    if not loop:
        is_edge = centre != neighbour
        centre, neighbour = centre[is_edge], neighbour[is_edge]
    return torch.stack([neighbour, centre] if flow == "source_to_target" else [centre, neighbour])
