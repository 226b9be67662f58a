"""Networks that classify the nodes of a graph."""

from __future__ import annotations

from ..nn import Dropout, GATConv, GCNConv, Module
from ..nn import functional as F
from ..tensor import Tensor


class GCN(Module):
    """A graph convolutional network that classifies nodes: layers of `wengert.nn.GCNConv` with ReLU between them.

    Args:
        in_channels: features of a node.
        hidden: features inside.
        num_classes: length of the output.
        layers: how many convolutions; a node hears from nodes so many edges away.
        dropout: on the input of each layer, while training.

    Shape:
        x (nodes, in_channels), edge_index (2, edges), output logits (nodes, num_classes).
        The paper's net for Cora, ``GCN(1433, 16, 7)``, has 23,063 parameters.

    Source: Kipf and Welling, "Semi-supervised classification with graph convolutional networks", ICLR 2017.

    >>> import wengert as wg
    >>> from wengert.models import GCN
    >>> GCN(4, 8, 3)(wg.randn(5, 4), wg.tensor([[0, 1, 2], [1, 0, 3]])).shape
    wengert.Size([5, 3])
    """

    def __init__(self, in_channels: int, hidden: int, num_classes: int, layers: int = 2, dropout: float = 0.5) -> None:
        super().__init__()
        sizes = [in_channels, *[hidden] * (layers - 1), num_classes]
        self.layers = layers
        self.dropout = Dropout(dropout)
        for k in range(layers):
            self.add_module(f"conv{k + 1}", GCNConv(sizes[k], sizes[k + 1]))

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Logits of the nodes."""
        for k in range(1, self.layers + 1):
            x = getattr(self, f"conv{k}")(self.dropout(x), edge_index, edge_weight)
            x = F.relu(x) if k < self.layers else x
        return x


class GAT(Module):
    """A graph attention network that classifies nodes: two layers of `wengert.nn.GATConv` with ELU between them.

    Args:
        in_channels: features of a node.
        hidden: features of each head.
        num_classes: length of the output.
        heads: of the first layer; the second has one.
        dropout: on the inputs and on the attention, while training.

    Shape:
        x (nodes, in_channels), edge_index (2, edges), output logits (nodes, num_classes).
        The paper's net for Cora, ``GAT(1433, 8, 7)``, has 92,373 parameters.

    Source: Veličković et al., "Graph attention networks", ICLR 2018.

    >>> import wengert as wg
    >>> from wengert.models import GAT
    >>> GAT(4, 8, 3, heads=2)(wg.randn(5, 4), wg.tensor([[0, 1, 2], [1, 0, 3]])).shape
    wengert.Size([5, 3])
    """

    def __init__(self, in_channels: int, hidden: int, num_classes: int, heads: int = 8, dropout: float = 0.6) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.conv1 = GATConv(in_channels, hidden, heads, dropout=dropout)
        self.conv2 = GATConv(hidden * heads, num_classes, dropout=dropout)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Logits of the nodes."""
        x = F.elu(self.conv1(self.dropout(x), edge_index))
        return self.conv2(self.dropout(x), edge_index)


__all__ = ["GAT", "GCN"]
