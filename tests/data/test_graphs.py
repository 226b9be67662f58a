"""Graphs: batches, lists of edges, citation networks, the karate club."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import wengert as wg
from wengert import data, nn
from wengert.data import Graph
from wengert.utils.data import DataLoader

NONE = wg.zeros(2, 0).long()


def ring(size: int, y: Any = None, weight: Any = None) -> Graph:
    nodes = wg.arange(size)
    return Graph(wg.randn(size, 4), wg.stack([nodes, nodes.roll(-1)]), y, weight)


# --- batches -------------------------------------------------------------------------------------------


def test_a_batch_is_its_graphs_side_by_side() -> None:
    graphs = [ring(3, 0), Graph(wg.randn(1, 4), NONE, 1), ring(5, 2)]
    batch = data.collate_graphs(graphs)
    assert batch.sizes == (3, 1, 5) and batch.batch.tolist() == [0, 0, 0, 1, 2, 2, 2, 2, 2]
    assert batch.y.tolist() == [0, 1, 2] and batch.edge_weight is None
    layer = nn.GCNConv(4, 2)
    alone = wg.cat([layer(graph.x, graph.edge_index) for graph in graphs])
    np.testing.assert_allclose(
        layer(batch.x, batch.edge_index).detach().numpy(), alone.detach().numpy(), rtol=1e-5, atol=1e-6
    )
    means = nn.segment_mean(batch.x, batch.batch, len(batch.sizes))
    np.testing.assert_allclose(means.numpy(), wg.stack([g.x.mean(0) for g in graphs]).numpy(), rtol=1e-5)


def test_targets_of_nodes_and_weights_of_edges() -> None:
    graphs = [ring(3, wg.tensor([1, 0, 1]), wg.ones(3)), ring(2, wg.tensor([0, 0]), wg.tensor([0.5, 2.0]))]
    batch = data.collate_graphs(graphs)
    assert batch.y.tolist() == [1, 0, 1, 0, 0] and batch.edge_weight.tolist() == [1, 1, 1, 0.5, 2]
    single = data.collate_graphs([ring(3, wg.tensor(2.5)), ring(4, wg.tensor(1.5))])
    assert single.y.tolist() == [2.5, 1.5]
    with pytest.raises(ValueError, match=r"some graphs have no y: 1 of 2"):
        data.collate_graphs([ring(3, 1), ring(3)])
    with pytest.raises(ValueError, match="needs at least one graph"):
        data.collate_graphs([])


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_from_a_loader(workers: int) -> None:
    graphs = [ring(size, size) for size in range(2, 12)]
    loader = DataLoader(graphs, batch_size=4, collate_fn=data.collate_graphs, num_workers=workers)
    batches = list(loader)
    assert [batch.sizes for batch in batches] == [(2, 3, 4, 5), (6, 7, 8, 9), (10, 11)]
    assert type(batches[0]) is nn.GraphBatch
    assert wg.equal(batches[2].x, wg.cat([graphs[8].x, graphs[9].x])) and batches[2].y.tolist() == [10, 11]


# --- edges ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9))))
def test_undirected(pairs: list[tuple[int, int]]) -> None:
    edges = np.array(pairs, np.int64).reshape(-1, 2).T
    seen = data.undirected(edges)[0]
    assert seen.dtype == wg.int64
    wanted = sorted({(a, b) for a, b in pairs} | {(b, a) for a, b in pairs})
    assert list(zip(*seen.tolist(), strict=True)) == wanted


def test_undirected_weights() -> None:
    edges, weights = data.undirected(wg.tensor([[1, 0, 2, 2], [0, 1, 2, 1]]), wg.tensor([0.5, 9.0, 3.0, 4.0]))
    assert edges.tolist() == [[0, 1, 1, 2, 2], [1, 0, 2, 1, 2]]
    assert weights.tolist() == [0.5, 0.5, 4, 4, 3] and weights.dtype == wg.float32
    with pytest.raises(ValueError, match=r"needs one weight for each edge: \(1,\) for 2 edges"):
        data.undirected([[0, 1], [1, 2]], [1.0])
    with pytest.raises(ValueError, match=r"edges must be integers \(2, edges\): int64 \(3, 2\)"):
        data.undirected([[0, 1], [1, 2], [1, 2]])
    with pytest.raises(ValueError, match=r"edges must be integers \(2, edges\): float64 \(2, 1\)"):
        data.undirected([[0.5], [1.7]])


def test_lists_of_edges(tmp_path: Path) -> None:
    path = tmp_path / "edges.txt"
    path.write_text("# a comment\n\n10 9 0.5 x\n9\t2 2   # inline\n9 10 7\n")
    edges = data.read_edge_list(path, weighted=True)
    assert edges.names == ["2", "9", "10"]
    assert edges.edge_index.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]] and edges.edge_weight.tolist() == [2, 2, 0.5, 0.5]
    directed = data.read_edge_list(path, directed=True)
    assert directed.edge_index.tolist() == [[2, 1, 1], [1, 0, 2]] and directed.edge_weight is None
    path.write_text("Ann Lee, Bob\nBob,Cy\n")
    named = data.read_edge_list(path, delimiter=",")
    assert named.names == ["Ann Lee", "Bob", "Cy"] and named.edge_index.shape == (2, 4)
    path.write_text("% none\n")
    empty = data.read_edge_list(path, comments="%", weighted=True)
    assert empty.names == [] and empty.edge_index.shape == (2, 0) and empty.edge_weight.shape == (0,)
    path.write_text("1 2\n2 10\n", encoding="utf-8-sig")  # the mark is no part of the first name
    assert data.read_edge_list(path).names == ["1", "2", "10"]
    path.write_bytes("Jürgen Ann".encode("latin1"))
    with pytest.raises(wg.errors.ArgumentError, match=r"read_edge_list: not in UTF-8: .*edges\.txt: "):
        data.read_edge_list(path)
    path.write_text("1 2\n1\n")
    with pytest.raises(ValueError, match=r"needs source and target: .*edges\.txt, line 2: '1'"):
        data.read_edge_list(path)
    with pytest.raises(ValueError, match=r"needs source, target and weight: .*line 1: '1 2'"):
        data.read_edge_list(path, weighted=True)


# --- citations -----------------------------------------------------------------------------------------

CONTENT = "31336\t0\t1\t0\tNeural_Networks\n1061127\t1\t0\t1\tRule_Learning\n35\t0\t0\t1\tNeural_Networks\n"


def test_cora(tmp_path: Path) -> None:
    (tmp_path / "cora.content").write_text(CONTENT)
    (tmp_path / "cora.cites").write_text("35\t31336\n35\t1061127\n31336\t35\n35\t99\n\n")
    seen = data.read_cora(tmp_path)
    assert seen.x.tolist() == [[0, 1, 0], [1, 0, 1], [0, 0, 1]] and seen.x.dtype == wg.float32
    assert seen.y.tolist() == [0, 1, 0] and seen.class_names == ["Neural_Networks", "Rule_Learning"]
    assert seen.papers == ["31336", "1061127", "35"] and seen.unknown == 1
    assert seen.edge_index.tolist() == [[0, 1, 2, 2], [2, 2, 0, 1]]
    assert data.read_cora(tmp_path, directed=True).edge_index.tolist() == [[0, 1, 2], [2, 2, 0]]
    assert nn.GCNConv(3, 2)(seen.x, seen.edge_index).shape == (3, 2)


@pytest.mark.parametrize(
    ("content", "cites", "words"),
    [
        ("a 0 1 x\nb 0 x\n", "", "not a table of papers"),
        ("a 0 1 x\na 0 1 x\n", "", "a paper is there twice"),
        ("a 0 z x\n", "", "not a table of papers"),
        ("", "", "not a table of papers"),
        ("a x\n", "", "lines have no words"),
        ("a 0 x\n", "a\n", "needs the names of two papers: "),
    ],
)
def test_what_is_no_citation_network(tmp_path: Path, content: str, cites: str, words: str) -> None:
    (tmp_path / "n.content").write_text(content)
    (tmp_path / "n.cites").write_text(cites)
    with pytest.raises(ValueError, match=re.escape(words)):
        data.read_cora(tmp_path, "n")


def test_citations_are_read_as_utf8(tmp_path: Path) -> None:
    (tmp_path / "cora.content").write_text("ä 0 Größe\nb 1 Ä\n", encoding="utf-8-sig")
    (tmp_path / "cora.cites").write_text("ä b\n", encoding="utf-8-sig")
    seen = data.read_cora(tmp_path)
    assert seen.papers == ["ä", "b"] and seen.class_names == ["Größe", "Ä"] and seen.unknown == 0
    (tmp_path / "cora.cites").write_bytes("ä b\n".encode("latin1"))
    with pytest.raises(wg.errors.ArgumentError, match=r"read_cora: not in UTF-8: .*cora\.cites"):
        data.read_cora(tmp_path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such file: .*cora\.content\. Get cora\.tgz from https.* into"):
        data.read_cora(tmp_path)


def test_split_nodes() -> None:
    labels = [0] * 40 + [1] * 60 + [2] * 25
    parts = data.split_nodes(wg.tensor(labels), 10, 30, 50, generator=wg.Generator().manual_seed(1))
    assert [len(part) for part in parts] == [30, 30, 50]
    assert [labels[i] for i in parts[0].tolist()] == [0] * 10 + [1] * 10 + [2] * 10
    assert len({i for part in parts for i in part.tolist()}) == 110
    again = data.split_nodes(labels, 10, 30, 50, generator=wg.Generator().manual_seed(1))
    assert all(wg.equal(a, b) for a, b in zip(parts, again, strict=True))
    with pytest.raises(ValueError, match=r"a class has too few nodes: class 2 has 25, per_class=30"):
        data.split_nodes(labels, 30)
    with pytest.raises(IndexError, match="too few nodes are left for validation and test: 65 for 500 and 1000"):
        data.split_nodes(labels)


# --- the club ------------------------------------------------------------------------------------------

# Zachary's matrix by the number of friends of each member, as in his figure 1 and networkx.
DEGREES = [16, 9, 10, 6, 3, 4, 4, 4, 5, 2, 3, 1, 2, 5, 2, 2, 2, 2, 2, 3, 2, 2, 2, 5, 3, 3, 2, 4, 3, 4, 4, 6, 12, 17]


def test_the_karate_club() -> None:
    club = data.karate_club()
    source, target = club.edge_index
    assert club.edge_index.shape == (2, 156) and bool((source != target).all())
    assert source.bincount().tolist() == target.bincount().tolist() == DEGREES
    edges = set(zip(source.tolist(), target.tolist(), strict=True))
    assert len(edges) == 156 and edges == {(b, a) for a, b in edges}
    assert {(0, 31), (32, 33), (2, 27)} <= edges and (0, 33) not in edges
    assert wg.equal(club.x, wg.eye(34)) and club.y.bincount().tolist() == [17, 17]
    assert club.y[0] == 0 and club.y[33] == 1 and club.y[8] == 0
    across = sum(int(club.y[a] != club.y[b]) for a, b in edges) // 2
    assert across == 11  # few friendships between the camps, as found by networkx
