"""Graphs: lists of edges, batches of graphs, citation networks in Cora's format, and a karate club.

A graph has node features (nodes, features) and edges as an integer tensor (2, edges): row 0 holds the
sources, row 1 the targets, as the layers of `wengert.nn` take them. An undirected graph has each edge both ways.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import api
from ..errors import ArgumentError, IndexRangeError, ShapeError, message
from ..nn import GraphBatch, batch_graphs
from ..tensor import Tensor


class Graph(NamedTuple):
    """One graph, a sample of a data set of graphs.

    Attributes:
        x: node features (nodes, features).
        edge_index: edges (2, edges).
        y: what is to be predicted: a number or tensor () for the graph, (nodes) for its nodes; or None.
        edge_weight: weights of the edges (edges), or None.
    """

    x: Tensor
    edge_index: Tensor
    y: Any = None
    edge_weight: Any = None


def collate_graphs(graphs: Sequence[Graph]) -> GraphBatch:
    """A ``collate_fn`` for data sets of graphs: many small ones become a large one without edges between them.

    Targets of graphs are stacked, those of nodes put one after the other. The result's ``batch`` says which
    graph a node belongs to, for `segment_mean` and its like.

    >>> import wengert as wg
    >>> from wengert.data import Graph, collate_graphs
    >>> from wengert.utils.data import DataLoader
    >>> pair = Graph(wg.ones(2, 3), wg.tensor([[0, 1], [1, 0]]), y=1)
    >>> point = Graph(wg.zeros(1, 3), wg.zeros(2, 0).long(), y=0)
    >>> batch = next(iter(DataLoader([point, pair], batch_size=2, collate_fn=collate_graphs)))
    >>> batch.edge_index.tolist(), batch.batch.tolist(), batch.y.tolist()
    ([[1, 2], [2, 1]], [0, 1, 1], [0, 1])
    """
    union = batch_graphs([(graph.x, graph.edge_index) for graph in graphs])
    return union._replace(
        y=_joined("y", [graph.y for graph in graphs]),
        edge_weight=_joined("edge_weight", [graph.edge_weight for graph in graphs]),
    )


def _joined(name: str, values: Sequence[Any]) -> Any:
    """Numbers stacked, tensors put one after the other; None where no graph has any."""
    missing = sum(value is None for value in values)
    if missing == len(values):
        return None
    if missing:
        seen = f"{missing} of {len(values)}"
        raise ArgumentError(message("collate_graphs", f"some graphs have no {name}", seen))
    tensors = [value if isinstance(value, Tensor) else api.tensor(value) for value in values]
    return api.stack(tensors) if tensors[0].ndim == 0 else api.cat(tensors)


def undirected(edge_index: Any, edge_weight: Any = None) -> tuple[Tensor, Any]:
    """Each edge both ways, sorted, and each once: ``(edge_index, edge_weight)``.

    Args:
        edge_index: edges (2, edges) in any order, one or both ways.
        edge_weight: weights (edges), or None. Where an edge is there several times, in either
            direction, the first weight counts.

    >>> from wengert.data import undirected
    >>> undirected([[2, 0, 1], [0, 1, 0]])[0].tolist()
    [[0, 0, 1, 2], [1, 2, 0, 0]]
    """
    edges = np.asarray(edge_index)
    if edges.ndim != 2 or edges.shape[0] != 2 or (edges.size and edges.dtype.kind not in "iu"):
        raise ShapeError(message("undirected", "edges must be integers (2, edges)", f"{edges.dtype} {edges.shape}"))
    edges = edges.astype(np.int64)
    low, high = edges.min(0), edges.max(0)
    pairs, first = np.unique(np.stack([low, high]), axis=1, return_index=True)
    back = pairs[0] != pairs[1]  # a loop is one edge
    both = np.concatenate([pairs, pairs[::-1, back]], 1)
    order = np.lexsort(both[::-1])
    weight = None
    if edge_weight is not None:
        weights = np.asarray(edge_weight.detach().numpy() if isinstance(edge_weight, Tensor) else edge_weight)
        if weights.shape != edges.shape[1:]:
            seen = f"{weights.shape} for {edges.shape[1]} edges"
            raise ShapeError(message("undirected", "needs one weight for each edge", seen))
        weight = api.tensor(np.concatenate([weights[first], weights[first][back]])[order])
    return api.tensor(np.ascontiguousarray(both[:, order])), weight


class EdgeList(NamedTuple):
    """What `read_edge_list` reads: edges (2, edges), the nodes' names, and weights (edges) or None."""

    edge_index: Tensor
    names: list[str]
    edge_weight: Any = None


def read_edge_list(
    path: str | os.PathLike[str],
    *,
    directed: bool = False,
    weighted: bool = False,
    delimiter: str | None = None,
    comments: str = "#",
) -> EdgeList:
    """Read a file with one edge a line: source, target, and perhaps a weight, as SNAP gives them out.

    Args:
        path: the file, UTF-8.
        directed: keep edges as they stand in the file; else each is there both ways, and once.
        weighted: read a third column. (Further columns are skipped.)
        delimiter: between columns; by default any white space.
        comments: what begins a line to be skipped, or the rest of one.

    Nodes are numbered in the order of their names: of the numbers if all are integers, else of the text.

    >>> import tempfile, pathlib
    >>> from wengert.data import read_edge_list
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "friends.txt")
    ...     _ = path.write_text("# friends" + chr(10) + "10 7" + chr(10) + "7 9")
    ...     edges = read_edge_list(path)
    >>> edges.names, edges.edge_index.tolist()
    (['7', '9', '10'], [[0, 0, 1, 2], [1, 2, 0, 0]])
    """
    pairs: list[tuple[str, str]] = []
    weights: list[float] = []
    for number, line in enumerate(_lines("read_edge_list", path), 1):
        words = line.partition(comments)[0].split(delimiter) if comments else line.split(delimiter)
        words = [word.strip() for word in words]
        if words in ([], [""]):
            continue
        try:
            pairs.append((words[0], words[1]))
            if weighted:
                weights.append(float(words[2]))
        except (IndexError, ValueError):
            wanted = "needs source, target and weight" if weighted else "needs source and target"
            seen = f"{path}, line {number}: {line.strip()!r}"
            raise ArgumentError(message("read_edge_list", wanted, seen)) from None
    names = _sorted_names({name for pair in pairs for name in pair})
    index = {name: place for place, name in enumerate(names)}
    places = np.array([[index[a], index[b]] for a, b in pairs], np.int64).reshape(-1, 2).T
    weight = api.tensor(weights, dtype=api.get_default_dtype()) if weighted else None
    if directed:
        return EdgeList(api.tensor(np.ascontiguousarray(places)), names, weight)
    edges, weight = undirected(places, weight)
    return EdgeList(edges, names, weight)


def _lines(name: str, path: str | os.PathLike[str]) -> Iterator[str]:
    """The lines of a text in UTF-8, without the mark that some programs put before the first."""
    with open(path, encoding="utf-8-sig") as file:
        try:
            yield from file
        except UnicodeDecodeError as error:
            raise ArgumentError(message(name, "not in UTF-8", f"{path}: {error}")) from error


def _sorted_names(names: set[str]) -> list[str]:
    try:
        return sorted(names, key=int)
    except ValueError:
        return sorted(names)


class CitationNetwork(NamedTuple):
    """Papers that cite each other.

    Attributes:
        x: the words of each paper, 0 or 1 (papers, words), in the default dtype.
        edge_index: citations (2, edges).
        y: the class of each paper (papers), int64.
        class_names: the names of the classes, sorted.
        papers: the papers' own names.
        unknown: how many citations were skipped because no paper of this name is described.
    """

    x: Tensor
    edge_index: Tensor
    y: Tensor
    class_names: list[str]
    papers: list[str]
    unknown: int


def read_cora(folder: str | os.PathLike[str], name: str = "cora", *, directed: bool = False) -> CitationNetwork:
    """Read a citation network in the format of Cora and CiteSeer: ``cora.content`` and ``cora.cites``.

    Args:
        folder: holds the two files, in UTF-8.
        name: of the files, without their endings.
        directed: edges go from the citing paper to the cited one; else each is there both ways, and once.

    A line of ``.content`` is a paper's name, a 0 or 1 for each word, and its class; a line of ``.cites`` the
    name of a paper and that of one that cites it.

    Raises:
        FileNotFoundError: says which file is missing and where it comes from.
        ArgumentError: a line does not have this form.

    Source: P. Sen et al., "Collective classification in network data", AI Magazine 2008.

    >>> import tempfile, pathlib
    >>> from wengert.data import read_cora
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = pathlib.Path(folder, "cora.content").write_text("a 0 1 Theory" + chr(10) + "b 1 1 Practice")
    ...     _ = pathlib.Path(folder, "cora.cites").write_text("a b")
    ...     papers = read_cora(folder)
    >>> papers.x.tolist(), papers.y.tolist(), papers.edge_index.tolist()
    ([[0.0, 1.0], [1.0, 1.0]], [1, 0], [[0, 1], [1, 0]])
    """
    content, cites = (Path(folder) / f"{name}.{ending}" for ending in ("content", "cites"))
    for path in (content, cites):
        if not path.is_file():
            cure = f"Get {name}.tgz from https://linqs.org/datasets and unpack it into {Path(folder)}"
            raise FileNotFoundError(message("read_cora", "no such file", str(path), cure))
    rows = [line.split() for line in _lines("read_cora", content) if line.strip()]
    papers = [row[0] for row in rows]
    try:
        words = np.array([row[1:-1] for row in rows], np.float64)
        if words.ndim != 2 or not words.shape[1] or len(set(papers)) != len(papers):
            raise ValueError("lines have no words, or a paper is there twice")
    except ValueError as error:
        raise ArgumentError(message("read_cora", "not a table of papers", f"{content}: {error}")) from error
    labels = [row[-1] for row in rows]
    class_names = sorted(set(labels))
    number = {paper: place for place, paper in enumerate(papers)}
    pairs, unknown = _citations(cites, number)
    edges = np.array(pairs, np.int64).reshape(-1, 2).T
    return CitationNetwork(
        api.tensor(words, dtype=api.get_default_dtype()),
        api.tensor(np.ascontiguousarray(edges)) if directed else undirected(edges)[0],
        api.tensor([class_names.index(label) for label in labels]),
        class_names,
        papers,
        unknown,
    )


def _citations(path: Path, number: dict[str, int]) -> tuple[list[tuple[int, int]], int]:
    """Pairs (citing, cited), and how many lines name a paper that is not known."""
    pairs: list[tuple[int, int]] = []
    unknown = 0
    for place, line in enumerate(_lines("read_cora", path), 1):
        words = line.split()
        if len(words) not in (0, 2):
            seen = f"{path}, line {place}: {line.strip()!r}"
            raise ArgumentError(message("read_cora", "needs the names of two papers", seen))
        if words and words[0] in number and words[1] in number:
            pairs.append((number[words[1]], number[words[0]]))
        elif words:
            unknown += 1
    return pairs, unknown


def split_nodes(
    y: Any, per_class: int = 20, validation: int = 500, test: int = 1000, generator: Any = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers of the nodes for training, validation and test: so many of each class, the rest at random.

    Args:
        y: the class of each node (nodes).
        per_class: nodes of each class for training.
        validation: nodes for validation, of any class.
        test: nodes for the test.
        generator: draws them; by default the global one does.

    Returns:
        Three sorted int64 tensors, without a node in two of them.

    Source: the split of Z. Yang, W. Cohen, R. Salakhutdinov, "Revisiting semi-supervised learning with
    graph embeddings", ICML 2016, which most papers on citation networks use.

    >>> from wengert.data import split_nodes
    >>> [len(part) for part in split_nodes([0, 1] * 50, per_class=5, validation=20, test=30)]
    [10, 20, 30]
    """
    labels = np.asarray(y)
    order = np.asarray(api.randperm(len(labels), generator=generator))
    training: list[int] = []
    for label in np.unique(labels):
        members = order[labels[order] == label][:per_class]
        if len(members) < per_class:
            seen = f"class {label} has {len(members)}, per_class={per_class}"
            raise ArgumentError(message("split_nodes", "a class has too few nodes", seen))
        training += members.tolist()
    rest = order[~np.isin(order, training)]
    if len(rest) < validation + test:
        seen = f"{len(rest)} for {validation} and {test}"
        raise IndexRangeError(message("split_nodes", "too few nodes are left for validation and test", seen))
    parts = (training, rest[:validation], rest[validation : validation + test])
    first, second, third = (api.tensor(np.sort(np.asarray(part, np.int64))) for part in parts)
    return first, second, third


# For each member the friends with a larger number.
_FRIENDS = """
1 2 3 4 5 6 7 8 10 11 12 13 17 19 21 31/2 3 7 13 17 19 21 30/3 7 8 9 13 27 28 32/7 12 13/6 10/6 10 16/16//
30 32 33/33////33/32 33/32 33///32 33/33/32 33//32 33/25 27 29 32 33/25 27 31/31/29 33/33/31 33/32 33/32 33/32 33/33/
"""
_CAMPS = "0000000001000011001010111111111111"  # 1: with the president


def karate_club() -> Graph:
    """Zachary's karate club: 34 members, 78 friendships, and the camps into which the club split.

    Members have no features but their number, so ``x`` is the unit matrix (34, 34). ``y`` is 0 for the camp of the
    teacher (member 0) and 1 for that of the president (member 33). Each friendship is there both ways.

    Source: W. Zachary, "An information flow model for conflict and fission in small groups", 1977.

    >>> from wengert.data import karate_club
    >>> club = karate_club()
    >>> club.edge_index.shape, club.y.tolist().count(1)
    (wengert.Size([2, 156]), 17)
    """
    rows = "".join(_FRIENDS.split("\n")).split("/")
    pairs = [[member, int(friend)] for member, row in enumerate(rows) for friend in row.split()]
    edges, _ = undirected(np.array(pairs).T)
    return Graph(api.eye(34), edges, api.tensor([int(camp) for camp in _CAMPS]))
