"""Stand-ins for torch_scatter, torch_sparse and torch_cluster, against torch_geometric.utils and brute force."""

import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distillery.generators.models import torch_scatter_shim
from distillery.generators.models.torch_scatter_shim import (
    SparseTensor,
    coalesce,
    knn,
    knn_graph,
    matmul,
    radius,
    radius_graph,
    scatter,
    scatter_add,
    scatter_max,
    scatter_mean,
    scatter_softmax,
    scatter_sum,
    segment_coo,
    segment_csr,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # torch_geometric still uses torch.jit
    import torch_geometric.nn
    import torch_geometric.utils

REDUCES = ("sum", "mean", "min", "max", "mul")
NUMPY = {"sum": np.sum, "mean": np.mean, "min": np.min, "max": np.max, "mul": np.prod}


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def random(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def reduce_by_hand(src: Tensor, index: Tensor, dim: int, size: int, reduce: str) -> np.ndarray[Any, Any]:
    """`scatter` of an index of one dimension, group by group."""
    empty = 1.0 if reduce == "mul" else 0.0
    parts = np.moveaxis(src.numpy(), dim, 0)
    groups = [parts[(index == group).numpy()] for group in range(size)]
    reduced = [NUMPY[reduce](group, axis=0) if len(group) else np.full(parts.shape[1:], empty) for group in groups]
    return np.moveaxis(np.array(reduced), 0, dim)


@pytest.mark.parametrize("reduce", REDUCES)
@pytest.mark.parametrize("dim", [0, 1, -1, -3])
def test_scatter_reduces_along_any_dimension(rng: torch.Generator, reduce: Any, dim: int) -> None:
    src = random(rng, 6, 5, 7)
    index = torch.randint(0, 4, (src.shape[dim],), generator=rng)
    index[index == 2] = 3  # a group without entries
    np.testing.assert_allclose(scatter(src, index, dim, None, 6, reduce), reduce_by_hand(src, index, dim, 6, reduce), rtol=1e-12)


@pytest.mark.parametrize("reduce", REDUCES)
def test_scatter_agrees_with_torch_geometric(rng: torch.Generator, reduce: Any) -> None:
    src, index = random(rng, 50, 3), torch.randint(0, 9, (50,), generator=rng)
    expected = torch_geometric.utils.scatter(src, index, dim=0, reduce=reduce)
    torch.testing.assert_close(scatter(src, index, 0, None, None, reduce), expected)


def test_the_size_is_that_of_the_largest_index_if_none_is_given() -> None:
    assert scatter(torch.ones(3), torch.tensor([0, 4, 1])).tolist() == [1, 1, 0, 0, 1]
    assert scatter(torch.ones(3), torch.tensor([0, 4, 1]), dim_size=7).shape == (7,)
    assert scatter(torch.ones(0, 2), torch.zeros(0, dtype=torch.long), 0).shape == (0, 2)


@pytest.mark.parametrize("reduce", ["sum", "mean", "min", "max"])
def test_nothing_scatters_to_zeros(reduce: Any) -> None:
    assert scatter(torch.ones(0, 2), torch.zeros(0, dtype=torch.long), 0, None, 3, reduce).tolist() == [[0, 0]] * 3


def test_integers_stay_integers_and_their_mean_is_rounded_down() -> None:
    src, index = torch.tensor([1, 2, -1, -2, 9, 7]), torch.tensor([0, 0, 1, 1, 2, 2])
    assert scatter_mean(src, index).tolist() == [1, -2, 8]
    assert scatter(src, index, reduce="max").tolist() == [2, -1, 9]
    assert scatter(src, index, reduce="mul").tolist() == [2, 2, 63]
    for reduce in REDUCES:
        assert scatter(src, index, reduce=reduce).dtype == torch.long
    assert scatter_sum(torch.tensor([True, True]), torch.tensor([0, 0])).dtype == torch.bool


def test_an_index_of_the_shape_of_the_source_is_taken_entry_by_entry(rng: torch.Generator) -> None:
    src, index = random(rng, 4, 6), torch.randint(0, 3, (4, 6), generator=rng)
    rows = [scatter_add(src[i], index[i], 0, None, 3) for i in range(4)]
    torch.testing.assert_close(scatter_add(src, index, 1, None, 3), torch.stack(rows))


def test_an_index_of_fewer_dimensions_lies_along_the_first(rng: torch.Generator) -> None:
    src, index = random(rng, 2, 5, 3), torch.randint(0, 4, (2, 5), generator=rng)
    rows = [scatter_add(src[i], index[i], 0, None, 4) for i in range(2)]
    torch.testing.assert_close(scatter_add(src, index, 1, None, 4), torch.stack(rows))


def test_out_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="out"):
        scatter(torch.ones(2), torch.tensor([0, 1]), 0, torch.zeros(2))  # type: ignore[arg-type]


@pytest.mark.parametrize("reduce", ["sum", "mean", "min", "max"])
def test_gradients_flow_through_scatter(rng: torch.Generator, reduce: Any) -> None:
    src = random(rng, 8, 2).requires_grad_()
    index = torch.tensor([0, 0, 1, 3, 3, 3, 1, 0])
    assert torch.autograd.gradcheck(lambda values: scatter(values, index, 0, None, 5, reduce), (src,))


def test_the_gradient_of_a_maximum_goes_to_the_first_of_equals() -> None:
    src = torch.tensor([1.0, 3.0, 3.0, 2.0], requires_grad=True)
    values, places = scatter_max(src, torch.tensor([0, 0, 0, 1]))
    values.sum().backward()
    assert places.tolist() == [1, 3]
    assert src.grad is not None
    assert src.grad.tolist() == [0, 1, 0, 1]


def test_scatter_max_says_where_and_marks_empty_groups(rng: torch.Generator) -> None:
    src, index = torch.tensor([[-5.0, 1.0], [-2.0, 1.0], [-2.0, 0.0]]), torch.tensor([2, 0, 0])
    values, places = scatter_max(src, index, 0, None, 4)
    assert values.tolist() == [[-2, 1], [0, 0], [-5, 1], [0, 0]]
    assert places.tolist() == [[1, 1], [3, 3], [0, 0], [3, 3]]
    src, index = random(rng, 40), torch.randint(0, 7, (40,), generator=rng)
    values, places = scatter_max(src, index)
    assert torch.equal(src[places], values)
    assert torch.equal(index[places], torch.arange(7))


def test_scatter_max_of_nothing_is_empty() -> None:
    values, places = scatter_max(torch.ones(0), torch.zeros(0, dtype=torch.long), 0, None, 2)
    assert (values.tolist(), places.tolist()) == ([0, 0], [0, 0])


def test_softmax_agrees_with_torch_geometric_also_for_large_values(rng: torch.Generator) -> None:
    src, index = 1000 * random(rng, 30, 4), torch.randint(0, 5, (30,), generator=rng)
    torch.testing.assert_close(scatter_softmax(src, index, dim=0), torch_geometric.utils.softmax(src, index, dim=0))
    small = random(rng, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda values: scatter_softmax(values, torch.tensor([0, 0, 1, 1, 1, 2])), (small,))


@pytest.mark.parametrize("reduce", ["sum", "mean", "min", "max"])
def test_segments_agree_with_torch_geometric_and_with_scatter(rng: torch.Generator, reduce: Any) -> None:
    src, indptr = random(rng, 10, 3), torch.tensor([0, 2, 2, 7, 10])
    index = torch.tensor([0, 0, 2, 2, 2, 2, 2, 3, 3, 3])
    expected = torch_geometric.utils.segment(src, indptr, reduce=reduce)
    torch.testing.assert_close(segment_csr(src, indptr, reduce=reduce), expected)
    torch.testing.assert_close(segment_coo(src, index, reduce=reduce), expected)
    torch.testing.assert_close(segment_coo(src, index, dim_size=6, reduce=reduce)[:4], expected)


def test_segments_may_leave_out_both_ends() -> None:
    assert segment_csr(torch.arange(6), torch.tensor([1, 3, 3, 5])).tolist() == [3, 0, 7]
    with pytest.raises(NotImplementedError, match="one-dimensional"):
        segment_csr(torch.ones(2, 2), torch.tensor([[0, 2]]))


@pytest.mark.parametrize("reduce", ["add", "mean", "min", "max"])
def test_coalesce_agrees_with_torch_geometric(rng: torch.Generator, reduce: Any) -> None:
    index, value = torch.randint(0, 5, (2, 60), generator=rng), random(rng, 60, 2)
    merged, reduced = coalesce(index, value, 5, 5, reduce)
    expected_index, expected = torch_geometric.utils.coalesce(index, value, 5, reduce=reduce)
    assert torch.equal(merged, expected_index)
    torch.testing.assert_close(reduced, expected)


def test_coalesce_takes_matrices_that_are_not_square_and_no_values() -> None:
    index = torch.tensor([[1, 0, 1, 1], [6, 2, 0, 6]])
    merged, value = coalesce(index, torch.tensor([1, 2, 3, 4]), 2, 7)
    assert merged.tolist() == [[0, 1, 1], [2, 0, 6]]
    assert value is not None
    assert value.tolist() == [2, 3, 5]
    assert coalesce(index, None, 2, 7)[1] is None
    assert coalesce(index[:, :0], None, 2, 7)[0].shape == (2, 0)


@pytest.fixture
def entries(rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """row, column and value of a 6 x 9 matrix with entries that occur twice and an empty row 3."""
    row, col = torch.randint(0, 6, (30,), generator=rng), torch.randint(0, 9, (30,), generator=rng)
    row[row == 3] = 4
    return torch.cat([row, row[:4]]), torch.cat([col, col[:4]]), random(rng, 34)


def test_a_sparse_matrix_is_sorted_and_whole_rows_are_taken(entries: tuple[Tensor, Tensor, Tensor]) -> None:
    row, col, value = entries
    matrix = SparseTensor(row=row, col=col, value=value, sparse_sizes=(6, 9))
    order = sorted(range(len(row)), key=lambda e: (int(row[e]), int(col[e]), e))
    assert torch.equal(matrix.storage.value(), value[order])
    wanted = torch.tensor([4, 3, 0, 4])
    taken = matrix[wanted].to(torch.device("cpu"))
    expected = [(place, e) for place, r in enumerate(wanted.tolist()) for e in order if int(row[e]) == r]
    assert taken.storage.row().tolist() == [place for place, _ in expected]
    assert taken.storage.col().tolist() == [int(col[e]) for _, e in expected]
    assert torch.equal(taken.storage.value(), value[[e for _, e in expected]])
    assert matrix[wanted[:0]].storage.row().tolist() == []


@pytest.mark.parametrize("shape", [(9,), (9, 4)])
def test_a_sparse_matrix_times_a_dense_one(entries: tuple[Tensor, Tensor, Tensor], rng: torch.Generator, shape: tuple[int, ...]) -> None:
    row, col, value = entries
    dense = random(rng, *shape)
    full = torch.zeros(6, 9, dtype=torch.float64).index_put_((row, col), value, accumulate=True)
    torch.testing.assert_close(matmul(SparseTensor(row, col, value, (6, 9)), dense), full @ dense)


@pytest.fixture
def points(rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, y and their batches: four graphs, of which x lacks one and y another."""
    x, y = random(rng, 40, 3), random(rng, 25, 3)
    batch_x, batch_y = torch.randint(0, 4, (40,), generator=rng), torch.randint(0, 4, (25,), generator=rng)
    batch_x[batch_x == 1] = 0
    batch_y[batch_y == 3] = 2
    return x, y, batch_x.sort().values, batch_y.sort().values


def pairs_by_hand(x: Tensor, y: Tensor, batch_x: Tensor | None, batch_y: Tensor | None) -> list[list[tuple[float, int]]]:
    """For every y, (distance, x) in the same batch by place."""
    return [
        [
            (float((x[j] - y[i]).norm()), j)
            for j in range(len(x))
            if batch_x is None or batch_y is None or int(batch_x[j]) == int(batch_y[i])
        ]
        for i in range(len(y))
    ]


@pytest.mark.parametrize("is_batched", [True, False])
@pytest.mark.parametrize("most", [3, 32])
def test_radius_finds_what_is_closer_in_the_same_batch(points: tuple[Tensor, Tensor, Tensor, Tensor], is_batched: bool, most: int) -> None:
    x, y, batch_x, batch_y = points
    batches = (batch_x, batch_y) if is_batched else (None, None)
    found = pairs_by_hand(x, y, *batches)
    expected = [(i, j) for i, near in enumerate(found) for j in [j for distance, j in near if distance < 1.2][:most]]
    assert radius(x, y, 1.2, *batches, max_num_neighbors=most).T.tolist() == [list(pair) for pair in expected]


@pytest.mark.parametrize("is_batched", [True, False])
@pytest.mark.parametrize("k", [1, 5, 100])
def test_knn_finds_the_nearest_in_the_same_batch(points: tuple[Tensor, Tensor, Tensor, Tensor], is_batched: bool, k: int) -> None:
    x, y, batch_x, batch_y = points
    batches = (batch_x, batch_y) if is_batched else (None, None)
    expected = [(i, j) for i, near in enumerate(pairs_by_hand(x, y, *batches)) for _, j in sorted(near)[:k]]
    assert knn(x, y, k, *batches).T.tolist() == [list(pair) for pair in expected]


def test_batches_need_not_be_sorted(points: tuple[Tensor, Tensor, Tensor, Tensor], rng: torch.Generator) -> None:
    x, y, batch_x, batch_y = points
    shuffled = torch.randperm(len(x), generator=rng)
    pairs = radius(x[shuffled], y, 1.2, batch_x[shuffled], batch_y, max_num_neighbors=40)
    pairs[1] = shuffled[pairs[1]]
    assert sorted(pairs.T.tolist()) == radius(x, y, 1.2, batch_x, batch_y, max_num_neighbors=40).T.tolist()


@pytest.mark.parametrize("flow", ["source_to_target", "target_to_source"])
@pytest.mark.parametrize("loop", [True, False])
def test_graphs_are_pairs_of_one_set_with_or_without_loops(points: tuple[Tensor, Tensor, Tensor, Tensor], flow: str, loop: bool) -> None:
    x, _, batch, _ = points
    for edges, pairs in (
        (radius_graph(x, 1.2, batch, loop=loop, flow=flow), radius(x, x, 1.2, batch, batch, 32 if loop else 33)),
        (knn_graph(x, 4, batch, loop=loop, flow=flow), knn(x, x, 4 if loop else 5, batch, batch)),
    ):
        expected = [(i, j) for i, j in pairs.T.tolist() if loop or i != j]
        if flow == "source_to_target":
            expected = [(j, i) for i, j in expected]
        assert edges.T.tolist() == [list(edge) for edge in expected]
    assert all(int(n) == 4 for n in torch.bincount(knn_graph(x, 4, batch)[1]))


def test_at_most_so_many_neighbours_are_taken_besides_the_point_itself() -> None:
    line = torch.arange(6.0)[:, None]
    centre = radius_graph(line, 10.0, max_num_neighbors=2)[1]
    assert torch.bincount(centre).tolist() == [2, 2, 2, 3, 3, 3]  # as torch_cluster: the first three, of which one may be the point


def test_points_exactly_at_the_radius_are_outside() -> None:
    line = torch.tensor([[0.0], [1.0], [2.5]])
    assert radius_graph(line, 1.5).tolist() == [[1, 0], [0, 1]]


def test_graphs_of_nothing_and_of_one_point_are_empty() -> None:
    for n in (0, 1):
        points, batch = torch.zeros(n, 3), torch.zeros(n, dtype=torch.long)
        for edges in (radius_graph(points, 1.0, batch), knn_graph(points, 3, batch), knn_graph(points, 3)):
            assert edges.shape == (2, 0)
            assert edges.dtype == torch.long
    assert knn(torch.zeros(0, 3), torch.zeros(2, 3), 1).shape == (2, 0)


@pytest.fixture
def installed() -> Iterator[None]:
    """The stand-ins in place of the packages, and afterwards everything as it was."""
    names = [name for name in sys.modules if name.startswith(("torch_scatter", "torch_sparse", "torch_cluster"))]
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.delitem(sys.modules, name)
        for module in (torch_geometric.nn, torch_geometric.nn.pool):
            for function in ("radius", "radius_graph", "knn", "knn_graph"):
                patch.setattr(module, function, getattr(module, function))
        torch_scatter_shim.install()
        yield
        for name in [name for name in sys.modules if name.startswith(("torch_scatter", "torch_sparse", "torch_cluster"))]:
            del sys.modules[name]


def test_installed_they_are_what_the_packages_names_give(installed: None) -> None:
    from torch_cluster import knn as found_knn
    from torch_scatter import scatter as found_scatter
    from torch_scatter.composite import scatter_softmax as found_softmax
    from torch_sparse import SparseTensor as FoundTensor

    assert (found_knn, found_scatter, found_softmax, FoundTensor) == (knn, scatter, scatter_softmax, SparseTensor)
    points = torch.tensor([[0.0], [1.0], [5.0]])
    assert torch_geometric.nn.radius_graph(points, r=2.0).tolist() == [[1, 0], [0, 1]]
