"""Message passing against dense adjacency matrices and plain loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import nn
from wengert.testing import gradcheck, verify

# Directed, node 4 hears nobody, node 5 has no edge at all; one pair twice in the weighted sum's favour.
EDGES = wg.tensor([[0, 1, 2, 0, 4, 3, 4], [1, 0, 1, 2, 3, 0, 0]])
NODES = 6


def features(width: int = 3) -> Any:
    return wg.randn(NODES, width, dtype=wg.float64)


def adjacency(weights: Any = None) -> Any:
    """A[i, j]: what j sends to i."""
    a = np.zeros((NODES, NODES))
    values = np.ones(EDGES.shape[1]) if weights is None else weights
    for w, (j, i) in zip(values, EDGES.numpy().T, strict=True):
        a[i, j] += w
    return a


def arrays(module: nn.Module) -> dict[str, Any]:
    return {k: v.detach().numpy() for k, v in module.state_dict().items()}


# --- segments ----------------------------------------------------------------------------------------

INDEX = wg.tensor([2, 0, 2, 3, 0])


def rows_of(x: Any, s: int) -> Any:
    return x.numpy()[INDEX.numpy() == s]


@pytest.mark.parametrize("shape", [(5,), (5, 2), (5, 2, 3)])
@pytest.mark.parametrize(
    ("reduce", "reference"), [(nn.segment_sum, np.sum), (nn.segment_mean, np.mean), (nn.segment_max, np.max)]
)
def test_reductions(reduce: Any, reference: Any, shape: Any) -> None:
    x = wg.randn(*shape, dtype=wg.float64)
    got = reduce(x, INDEX, 5)
    assert got.shape == (5, *shape[1:])
    for s in range(5):
        rows = rows_of(x, s)
        np.testing.assert_allclose(got[s].numpy(), reference(rows, axis=0) if len(rows) else np.zeros(shape[1:]))
    assert reduce(x, INDEX).shape[0] == 4
    assert reduce(x[:0], INDEX[:0], 2).tolist() == np.zeros((2, *shape[1:])).tolist()
    assert gradcheck(lambda x: reduce(x, INDEX, 5), (x.requires_grad_(),))


def test_softmax_of_segments() -> None:
    x = wg.randn(5, 2, dtype=wg.float64) + 1000
    got = nn.segment_softmax(x, INDEX).numpy()
    for s in (0, 2, 3):
        e = np.exp(rows_of(x, s) - 1000)
        np.testing.assert_allclose(got[INDEX.numpy() == s], e / e.sum(0), rtol=1e-9)
    assert verify(lambda x: nn.segment_softmax(x, INDEX), wg.randn(5, 2, dtype=wg.float64))


def test_segments_refuse() -> None:
    with pytest.raises(RuntimeError, match="an index vector with one entry"):
        nn.segment_sum(wg.zeros(3, 2), wg.tensor([0, 1]))
    with pytest.raises(TypeError, match="the index must be an integer tensor"):
        nn.segment_mean(wg.zeros(2), wg.zeros(2))
    with pytest.raises(IndexError):
        nn.segment_sum(wg.zeros(2), wg.tensor([0, 5]), 3)


# --- layers ------------------------------------------------------------------------------------------


def test_gcn_is_the_dense_formula() -> None:
    layer = nn.GCNConv(3, 2, dtype=wg.float64)
    wg.nn.init.normal_(layer.bias)
    x, w = features(), wg.rand(EDGES.shape[1], dtype=wg.float64) + 0.5
    p = arrays(layer)
    for weights in (None, w):
        a = adjacency(None if weights is None else weights.numpy()) + np.eye(NODES)
        d = np.diag(a.sum(1) ** -0.5)
        want = d @ a @ d @ x.numpy() @ p["lin.weight"].T + p["bias"]
        np.testing.assert_allclose(layer(x, EDGES, weights).detach().numpy(), want, rtol=1e-10)
    plain = nn.GCNConv(3, 2, add_self_loops=False, normalize=False, bias=False, dtype=wg.float64)
    want = adjacency() @ x.numpy() @ arrays(plain)["lin.weight"].T
    np.testing.assert_allclose(plain(x, EDGES).detach().numpy(), want, rtol=1e-10)


def test_gcn_without_loops_and_lonely_nodes() -> None:
    layer = nn.GCNConv(3, 2, add_self_loops=False, bias=False, dtype=wg.float64)
    x, w = features(), wg.ones(EDGES.shape[1], dtype=wg.float64, requires_grad=True)
    out = layer(x, EDGES, w)
    assert out[5].tolist() == [0.0, 0.0]
    out.sum().backward()
    assert wg.isfinite(w.grad).all()


@pytest.mark.parametrize("aggr", ["mean", "sum", "max"])
def test_sage_is_a_loop(aggr: str) -> None:
    layer = nn.SAGEConv(3, 2, aggr=aggr, dtype=wg.float64)
    x, p = features(), arrays(layer)
    for i in range(NODES):
        heard = x.numpy()[EDGES[0].numpy()[EDGES[1].numpy() == i]]
        joined = getattr(np, aggr)(heard, axis=0) if len(heard) else np.zeros(3)
        want = p["lin_l.weight"] @ joined + p["lin_l.bias"] + p["lin_r.weight"] @ x.numpy()[i]
        np.testing.assert_allclose(layer(x, EDGES)[i].detach().numpy(), want, rtol=1e-10)
    unit = nn.SAGEConv(3, 2, aggr=aggr, normalize=True, root_weight=False, dtype=wg.float64)
    assert "lin_r.weight" not in unit.state_dict()
    assert wg.allclose(unit(x, EDGES).norm(dim=1), wg.ones(NODES, dtype=wg.float64))


@pytest.mark.parametrize("concat", [True, False])
def test_gat_is_dense_attention(concat: bool) -> None:
    layer = nn.GATConv(3, 4, heads=2, concat=concat, dtype=wg.float64)
    wg.nn.init.normal_(layer.bias)
    x, p = features(), arrays(layer)
    z = (x.numpy() @ p["lin.weight"].T).reshape(NODES, 2, 4)
    heads = []
    for h in range(2):
        score = (z[:, h] @ p["att_dst"][0, h])[:, None] + (z[:, h] @ p["att_src"][0, h])[None, :]
        score = np.where(score > 0, score, 0.2 * score)
        score = np.where(adjacency() + np.eye(NODES) > 0, score, -np.inf)
        weights = np.exp(score - score.max(1, keepdims=True))
        heads.append(weights / weights.sum(1, keepdims=True) @ z[:, h])
    want = (np.concatenate(heads, 1) if concat else np.mean(heads, 0)) + p["bias"]
    out, (edges, weights) = layer(x, EDGES, return_attention=True)
    np.testing.assert_allclose(out.detach().numpy(), want, rtol=1e-10)
    assert wg.allclose(nn.segment_sum(weights, edges[1], NODES), wg.ones(NODES, 2, dtype=wg.float64))


def test_gat_drops_weights_only_while_training() -> None:
    layer = nn.GATConv(3, 4, dropout=0.5, dtype=wg.float64)
    x = features()
    assert not wg.equal(layer(x, EDGES), layer(x, EDGES))
    layer.eval()
    assert wg.equal(layer(x, EDGES), layer(x, EDGES))


@pytest.mark.parametrize("train_eps", [False, True])
def test_gin_is_the_dense_formula(train_eps: bool) -> None:
    layer = nn.GINConv(nn.Linear(3, 2, dtype=wg.float64), eps=0.25, train_eps=train_eps)
    x, p = features(), arrays(layer)
    want = (adjacency() + 1.25 * np.eye(NODES)) @ x.numpy() @ p["nn.weight"].T + p["nn.bias"]
    np.testing.assert_allclose(layer(x, EDGES).detach().numpy(), want, rtol=1e-10)
    assert ("eps" in dict(layer.named_parameters())) is train_eps


def layers() -> list[nn.Module]:
    inner = nn.Linear(2, 2, dtype=wg.float64)
    return [
        nn.GCNConv(2, 2, dtype=wg.float64),
        nn.SAGEConv(2, 2, dtype=wg.float64),
        nn.SAGEConv(2, 2, aggr="max", dtype=wg.float64),
        nn.GATConv(2, 2, heads=2, dtype=wg.float64),
        nn.GINConv(inner, train_eps=True),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("layer", layers(), ids=lambda layer: type(layer).__name__)
def test_derivatives(layer: nn.Module) -> None:
    small = wg.tensor([[0, 1, 2, 0], [1, 0, 1, 2]])
    names = [k for k, p in layer.named_parameters() if p.dtype == wg.float64]

    def run(x: Any, *own: Any) -> Any:
        return wg.func.functional_call(layer, dict(zip(names, own, strict=True)), (x, small))

    own = [p for p in layer.parameters() if p.dtype == wg.float64]
    assert gradcheck(run, [x.detach().requires_grad_() for x in (features(2)[:4], *own)])


@pytest.mark.parametrize("layer", layers(), ids=lambda layer: type(layer).__name__)
def test_a_batch_is_its_graphs(layer: nn.Module) -> None:
    graphs = [(features(2), EDGES), (features(2)[:2], wg.tensor([[0], [1]])), (features(2)[:3], EDGES[:, :0])]
    union = nn.batch_graphs(graphs)
    assert union.sizes == (6, 2, 3)
    got = layer(union.x, union.edge_index).split(union.sizes)
    for out, (x, edges) in zip(got, graphs, strict=True):
        assert wg.allclose(out, layer(x, edges))
    means = nn.segment_mean(union.x, union.batch, 3)
    assert wg.allclose(means[1], graphs[1][0].mean(0))


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (lambda: nn.GCNConv(3, 2)(wg.zeros(6, 2), EDGES), "nodes must be .nodes, 3."),
        (lambda: nn.GCNConv(3, 2)(wg.zeros(2, 3), EDGES), "edges must join nodes 0 to 1: 0 to 4"),
        (lambda: nn.GCNConv(3, 2)(wg.zeros(6, 3), EDGES, wg.ones(2)), "one weight for each edge"),
        (lambda: nn.GATConv(3, 2)(wg.zeros(6, 3), EDGES.T), "an integer tensor .2, edges."),
        (lambda: nn.SAGEConv(3, 2, aggr="min"), "aggr must be mean, sum or max"),
        (lambda: nn.GINConv(nn.Identity())(wg.zeros(2, 3), EDGES), "edges must join nodes"),
        (lambda: nn.batch_graphs([]), "at least one graph"),
    ],
)
def test_refuses(run: Any, words: str) -> None:
    with pytest.raises(RuntimeError, match=words):
        run()
