"""Graph networks: reductions over segments, four message-passing layers, and batches of graphs.

A graph has node features (nodes, features) and edges as an integer tensor (2, edges): row 0 holds the
sources, row 1 the targets. A layer sends a message along each edge and reduces the messages by target.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from .. import api
from ..errors import ArgumentError, DTypeError, IndexRangeError, ShapeError, message
from ..tensor import Tensor
from . import functional as F
from . import init
from .linear import Linear, check_size
from .module import Module
from .parameter import Parameter

# --- segments ----------------------------------------------------------------------------------------


def _segments(name: str, input: Any, index: Any, size: int | None) -> int:
    """How many segments there are; raises unless the index fits the input."""
    if index.dtype not in (api.int64, api.int32):
        raise DTypeError(message(name, "the index must be an integer tensor", str(index.dtype)))
    if index.ndim != 1 or input.ndim < 1 or input.shape[0] != index.shape[0]:
        seen = f"input {tuple(input.shape)}, index {tuple(index.shape)}"
        raise ShapeError(message(name, "needs an index vector with one entry for each row of the input", seen))
    if size is not None:
        return size
    return int(index.max().item()) + 1 if index.numel() else 0


def _like_rows(x: Any, input: Any) -> Any:
    """A vector laid along the first dimension, to be broadcast over the others."""
    return x.reshape(-1, *[1] * (input.ndim - 1))


def segment_sum(input: Tensor, index: Tensor, size: int | None = None) -> Tensor:
    """Sum of the rows of each segment: ``out[s] = Σ input[i]`` over i with ``index[i] = s``.

    Args:
        input: rows (rows, *).
        index: the segment of each row (rows), in any order.
        size: how many segments there are; by default the largest index plus one.

    Returns:
        A tensor (size, *); segments without rows are zero, as in the other reductions.

    >>> import wengert as wg
    >>> wg.nn.segment_sum(wg.tensor([1.0, 2.0, 3.0]), wg.tensor([0, 2, 0]))
    tensor([4., 0., 2.])
    """
    n = _segments("segment_sum", input, index, size)
    return input.new_zeros((n, *input.shape[1:])).index_add(0, index, input)


def segment_mean(input: Tensor, index: Tensor, size: int | None = None) -> Tensor:
    """Mean of the rows of each segment; see `segment_sum`.

    >>> import wengert as wg
    >>> wg.nn.segment_mean(wg.tensor([1.0, 2.0, 3.0]), wg.tensor([0, 2, 0]))
    tensor([2., 0., 2.])
    """
    n = _segments("segment_mean", input, index, size)
    count = segment_sum(input.new_ones(index.shape), index, n).clamp(min=1)
    return segment_sum(input, index, n) / _like_rows(count, input)


def segment_max(input: Tensor, index: Tensor, size: int | None = None) -> Tensor:
    """Largest of the rows of each segment, element by element; see `segment_sum`. Ties share the gradient.

    >>> import wengert as wg
    >>> wg.nn.segment_max(wg.tensor([1.0, -2.0, 3.0]), wg.tensor([0, 2, 0]))
    tensor([ 3.,  0., -2.])
    """
    n = _segments("segment_max", input, index, size)
    return input.new_zeros((n, *input.shape[1:])).index_reduce(0, index, input, "amax", include_self=False)


def segment_softmax(input: Tensor, index: Tensor, size: int | None = None) -> Tensor:
    """Softmax over the rows of each segment, in the shape of the input; see `segment_sum`.

    >>> import wengert as wg
    >>> wg.nn.segment_softmax(wg.tensor([0.0, 5.0, 0.0]), wg.tensor([0, 2, 0]))
    tensor([0.5000, 1.0000, 0.5000])
    """
    n = _segments("segment_softmax", input, index, size)
    # The largest row is subtracted against overflow only; the result does not depend on it.
    e = (input - segment_max(input.detach(), index, n)[index]).exp()
    return e / segment_sum(e, index, n)[index]


# --- batches -----------------------------------------------------------------------------------------


class GraphBatch(NamedTuple):
    """Several graphs as one that has no edges between them.

    Attributes:
        x: node features of all graphs, one after the other (nodes, features).
        edge_index: their edges, renumbered (2, edges).
        batch: the graph of each node (nodes); ``segment_mean(h, batch, len(sizes))`` is a mean a graph.
        sizes: the number of nodes of each graph.
        y: targets, one after the other, or None.
        edge_weight: weights of the edges (edges), or None.
    """

    x: Tensor
    edge_index: Tensor
    batch: Tensor
    sizes: tuple[int, ...]
    y: Any = None
    edge_weight: Any = None


def batch_graphs(graphs: Sequence[tuple[Tensor, Tensor]]) -> GraphBatch:
    """The disjoint union of graphs ``(x, edge_index)``.

    >>> import wengert as wg
    >>> pair, point = wg.tensor([[0, 1], [1, 0]]), wg.zeros(2, 0).long()
    >>> union = wg.nn.batch_graphs([(wg.ones(1, 4), point), (wg.ones(2, 4), pair)])
    >>> union.edge_index.tolist(), union.batch.tolist(), union.sizes
    ([[1, 2], [2, 1]], [0, 1, 1], (1, 2))
    """
    if not graphs:
        raise ArgumentError(message("batch_graphs", "needs at least one graph"))
    sizes = tuple(int(x.shape[0]) for x, _ in graphs)
    for (_, edges), n in zip(graphs, sizes, strict=True):
        _check_edges("batch_graphs", edges, n)
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    edges = api.cat([edge_index + start for (_, edge_index), start in zip(graphs, starts, strict=True)], 1)
    batch = api.cat([api.full((n,), i, dtype=api.int64) for i, n in enumerate(sizes)])
    return GraphBatch(api.cat([x for x, _ in graphs]), edges, batch, sizes)


# --- layers ------------------------------------------------------------------------------------------


def _check_edges(name: str, edge_index: Any, nodes: int) -> None:
    if edge_index.dtype not in (api.int64, api.int32) or edge_index.ndim != 2 or edge_index.shape[0] != 2:
        seen = f"shape {tuple(edge_index.shape)} of {edge_index.dtype}"
        raise ShapeError(message(name, "edges must be an integer tensor (2, edges)", seen))
    value = edge_index._value
    if value is not None and value.size and not (0 <= value.min() and value.max() < nodes):
        seen = f"{value.min()} to {value.max()}"
        raise IndexRangeError(message(name, f"edges must join nodes 0 to {nodes - 1}", seen))


def add_self_loops(edge_index: Tensor, nodes: int) -> Tensor:
    """The edges and one more from each node to itself (none is there already)."""
    own = api.arange(nodes).to(edge_index.dtype)
    return api.cat([edge_index, api.stack([own, own])], 1)


class _GraphLayer(Module):
    """What the layers share: sizes, and the check of what they are given."""

    in_channels: int
    out_channels: int

    def _sizes(self, in_channels: int, out_channels: int) -> None:
        self.in_channels = check_size(type(self).__name__, "in_channels", in_channels, 1)
        self.out_channels = check_size(type(self).__name__, "out_channels", out_channels, 1)

    def _check(self, x: Tensor, edge_index: Tensor) -> int:
        """The number of nodes."""
        if x.ndim != 2 or x.shape[1] != self.in_channels:
            wanted = f"nodes must be (nodes, {self.in_channels})"
            raise ShapeError(message(type(self).__name__, wanted, f"shape {tuple(x.shape)}"))
        _check_edges(type(self).__name__, edge_index, x.shape[0])
        return x.shape[0]

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}"


class GCNConv(_GraphLayer):
    """Graph convolution: ``D^-½ (A + I) D^-½ X Wᵀ + b``, where D holds the weighted in-degrees of A + I.

    Args:
        in_channels: features of a node.
        out_channels: features of a node afterwards.
        add_self_loops: whether each node also hears itself (the I).
        normalize: whether to divide by the degrees; else (A + I) X Wᵀ + b.
        bias: whether there is a ``b``.

    Shape:
        x (nodes, in_channels), edge_index (2, edges), edge_weight (edges) or None, output
        (nodes, out_channels). An undirected graph has each edge both ways. No edge joins a node to itself.

    Source: Kipf and Welling, "Semi-supervised classification with graph convolutional networks", ICLR 2017.

    >>> import wengert as wg
    >>> layer = wg.nn.GCNConv(5, 2)
    >>> layer(wg.randn(3, 5), wg.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])).shape
    wengert.Size([3, 2])
    """

    bias: Parameter | None

    def __init__(
        self, in_channels: int, out_channels: int, add_self_loops: bool = True, normalize: bool = True,
        bias: bool = True, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._sizes(in_channels, out_channels)
        self.add_self_loops, self.normalize = add_self_loops, normalize
        self.lin = Linear(in_channels, out_channels, bias=False, device=device, dtype=dtype)
        init.xavier_uniform_(self.lin.weight)
        if bias:
            self.bias = Parameter(api.zeros(out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        n = self._check(x, edge_index)
        weight = x.new_ones(edge_index.shape[1]) if edge_weight is None else edge_weight
        if tuple(weight.shape) != (edge_index.shape[1],):
            seen = f"{tuple(weight.shape)} for {edge_index.shape[1]} edges"
            raise ShapeError(message("GCNConv", "needs one weight for each edge", seen))
        if self.add_self_loops:
            edge_index, weight = add_self_loops(edge_index, n), api.cat([weight, weight.new_ones(n)])
        source, target = edge_index[0], edge_index[1]
        if self.normalize:
            degree = segment_sum(weight, target, n)
            some = degree > 0
            # `where` twice: the root of a degree of zero must not be taken, its derivative is infinite.
            scale = api.where(some, api.where(some, degree, api.ones_like(degree)).rsqrt(), api.zeros_like(degree))
            weight = scale[source] * weight * scale[target]
        out = segment_sum(self.lin(x)[source] * weight.unsqueeze(1), target, n)
        return out if self.bias is None else out + self.bias


class SAGEConv(_GraphLayer):
    """GraphSAGE: ``W_l · aggregate of the neighbours + b + W_r x``.

    Args:
        in_channels: features of a node.
        out_channels: features of a node afterwards.
        aggr: how neighbours are aggregated: "mean", "sum" or "max".
        normalize: whether each output row is divided by its Euclidean length.
        root_weight: whether there is a ``W_r x``.
        bias: whether there is a ``b``.

    Shape:
        x (nodes, in_channels), edge_index (2, edges), output (nodes, out_channels).

    Source: Hamilton, Ying and Leskovec, "Inductive representation learning on large graphs", NeurIPS 2017.

    >>> import wengert as wg
    >>> wg.nn.SAGEConv(5, 2, aggr="max")(wg.randn(3, 5), wg.tensor([[0, 1], [1, 0]])).shape
    wengert.Size([3, 2])
    """

    lin_r: Linear | None

    def __init__(
        self, in_channels: int, out_channels: int, aggr: str = "mean", normalize: bool = False,
        root_weight: bool = True, bias: bool = True, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._sizes(in_channels, out_channels)
        if aggr not in ("mean", "sum", "max"):
            raise ArgumentError(message("SAGEConv", "aggr must be mean, sum or max", repr(aggr)))
        self.aggr, self.normalize = aggr, normalize
        self.lin_l = Linear(in_channels, out_channels, bias=bias, device=device, dtype=dtype)
        self.lin_r = Linear(in_channels, out_channels, bias=False, device=device, dtype=dtype) if root_weight else None

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        n = self._check(x, edge_index)
        reduce = {"mean": segment_mean, "sum": segment_sum, "max": segment_max}[self.aggr]
        out = self.lin_l(reduce(x[edge_index[0]], edge_index[1], n))
        if self.lin_r is not None:
            out = out + self.lin_r(x)
        return F.normalize(out, dim=-1) if self.normalize else out

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, aggr={self.aggr!r}"


class GATConv(_GraphLayer):
    """Graph attention: each node averages its neighbours (and itself) with weights that it learns.

    With ``z = W x`` for each head, the weight of neighbour j for node i is the softmax over j of
    ``leaky_relu(att_src · z_j + att_dst · z_i)``.

    Args:
        in_channels: features of a node.
        out_channels: features of a node for each head.
        heads: attentions side by side.
        concat: whether the heads' results are joined; else they are averaged.
        negative_slope: of the leaky ReLU.
        dropout: probability that a weight is dropped while training.
        add_self_loops: whether each node attends to itself too.
        bias: whether a number is added to each output feature.

    Shape:
        x (nodes, in_channels), edge_index (2, edges), output (nodes, heads * out_channels), or
        (nodes, out_channels) without ``concat``. With ``return_attention`` also the edges, loops included,
        and their weights (edges, heads).

    Source: Veličković et al., "Graph attention networks", ICLR 2018.

    >>> import wengert as wg
    >>> layer = wg.nn.GATConv(5, 2, heads=3)
    >>> layer(wg.randn(3, 5), wg.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])).shape
    wengert.Size([3, 6])
    """

    bias: Parameter | None

    def __init__(
        self, in_channels: int, out_channels: int, heads: int = 1, concat: bool = True, negative_slope: float = 0.2,
        dropout: float = 0.0, add_self_loops: bool = True, bias: bool = True, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._sizes(in_channels, out_channels)
        self.heads = check_size("GATConv", "heads", heads, 1)
        self.concat, self.negative_slope, self.dropout = concat, negative_slope, dropout
        self.add_self_loops = add_self_loops
        self.lin = Linear(in_channels, heads * out_channels, bias=False, device=device, dtype=dtype)
        self.att_src = Parameter(api.empty(1, heads, out_channels, device=device, dtype=dtype))
        self.att_dst = Parameter(api.empty(1, heads, out_channels, device=device, dtype=dtype))
        for p in (self.lin.weight, self.att_src, self.att_dst):
            init.xavier_uniform_(p)
        if bias:
            width = heads * out_channels if concat else out_channels
            self.bias = Parameter(api.zeros(width, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)

    def forward(self, x: Tensor, edge_index: Tensor, return_attention: bool = False) -> Any:
        n = self._check(x, edge_index)
        if self.add_self_loops:
            edge_index = add_self_loops(edge_index, n)
        source, target = edge_index[0], edge_index[1]
        z = self.lin(x).reshape(n, self.heads, self.out_channels)
        score = (z * self.att_src).sum(-1)[source] + (z * self.att_dst).sum(-1)[target]
        weights = segment_softmax(F.leaky_relu(score, self.negative_slope), target, n)
        kept = F.dropout(weights, self.dropout, self.training)
        out = segment_sum(z[source] * kept.unsqueeze(-1), target, n)
        out = out.flatten(1) if self.concat else out.mean(1)
        if self.bias is not None:
            out = out + self.bias
        return (out, (edge_index, weights)) if return_attention else out

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, heads={self.heads}"


class GINConv(Module):
    """Graph isomorphism layer: ``nn((1 + ε) x + sum of the neighbours)``.

    Args:
        nn: a network that maps (nodes, features) to (nodes, other features).
        eps: ε.
        train_eps: whether ε is trained.

    Shape:
        x (nodes, features), edge_index (2, edges), output as ``nn`` gives it.

    Source: Xu et al., "How powerful are graph neural networks?", ICLR 2019.

    >>> import wengert as wg
    >>> layer = wg.nn.GINConv(wg.nn.Linear(5, 2), train_eps=True)
    >>> layer(wg.randn(3, 5), wg.tensor([[0, 1], [1, 0]])).shape
    wengert.Size([3, 2])
    """

    eps: Tensor

    def __init__(self, nn: Module, eps: float = 0.0, train_eps: bool = False) -> None:
        super().__init__()
        self.nn = nn
        if train_eps:
            self.eps = Parameter(api.tensor(float(eps)))
        else:
            self.register_buffer("eps", api.tensor(float(eps)))

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        _check_edges("GINConv", edge_index, x.shape[0])
        return self.nn((1 + self.eps) * x + segment_sum(x[edge_index[0]], edge_index[1], x.shape[0]))


__all__ = [
    "GATConv", "GCNConv", "GINConv", "GraphBatch", "SAGEConv", "add_self_loops", "batch_graphs", "segment_max",
    "segment_mean", "segment_softmax", "segment_sum",
]  # fmt: skip
