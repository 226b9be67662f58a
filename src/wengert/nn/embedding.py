"""Embedding: a table of vectors, looked up by number, one by one or as sums over bags."""

from __future__ import annotations

from typing import Any

from .. import api
from ..config import no_grad
from ..errors import ArgumentError, ShapeError, message
from ..tensor import Tensor
from . import functional as F
from . import init
from .linear import check_size
from .module import Module
from .parameter import Parameter


def _row(layer: str, padding_idx: int | None, rows: int) -> int | None:
    """The padding row, counted from the front."""
    if padding_idx is None:
        return None
    if not -rows <= padding_idx < rows:
        raise ArgumentError(message(layer, "padding_idx must be within num_embeddings", f"{padding_idx} of {rows}"))
    return padding_idx % rows


class Embedding(Module):
    """Gives the row of a table for each number in the input.

    Args:
        num_embeddings: rows of the table.
        embedding_dim: length of a row.
        padding_idx: a row that starts as zeros and gets no gradient.
        max_norm: rows that are looked up and longer than this are shortened to it, in the table itself.
        norm_type: the p of that norm.
        scale_grad_by_freq: divide a row's gradient by how often it was looked up in the batch.
        sparse: no effect, gradients are dense.

    Shape:
        input (*) of integers, output (*, embedding_dim). Rows start normal with standard deviation 1.

    >>> import wengert as wg
    >>> table = wg.nn.Embedding(10, 3, padding_idx=0)
    >>> table(wg.tensor([[1, 0, 9]])).shape, table(wg.tensor(0)).tolist()
    (wengert.Size([1, 3, 3]), [0.0, 0.0, 0.0])
    """

    weight: Parameter

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        rows = self.num_embeddings = check_size("Embedding", "num_embeddings", num_embeddings)
        self.embedding_dim = check_size("Embedding", "embedding_dim", embedding_dim)
        self.padding_idx = _row("Embedding", padding_idx, rows)
        self.max_norm, self.norm_type = max_norm, norm_type
        self.scale_grad_by_freq, self.sparse = scale_grad_by_freq, sparse
        if _weight is None:
            shape = (self.num_embeddings, self.embedding_dim)
            self.weight = Parameter(api.empty(*shape, device=device, dtype=dtype), requires_grad=not _freeze)
            self.reset_parameters()
        else:
            self.weight = Parameter(_weight, requires_grad=not _freeze)

    @classmethod
    def from_pretrained(
        cls, embeddings: Tensor, freeze: bool = True, padding_idx: int | None = None, max_norm: float | None = None,
        norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False,
    ) -> Embedding:  # fmt: skip
        """A layer with the given table (rows, columns), which is not trained unless ``freeze`` is False."""
        if embeddings.ndim != 2:
            raise ShapeError(message("Embedding", "embeddings must be a matrix", f"shape {tuple(embeddings.shape)}"))
        rows, columns = embeddings.shape
        return cls(rows, columns, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, embeddings, freeze)

    def reset_parameters(self) -> None:
        """Draw the rows anew; the padding row becomes zero."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx] = 0.0

    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(input, self.weight, self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq)

    def extra_repr(self) -> str:
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        if self.padding_idx is not None:
            text += f", padding_idx={self.padding_idx}"
        if self.max_norm is not None:
            text += f", max_norm={self.max_norm}"
        if self.norm_type != 2:
            text += f", norm_type={self.norm_type}"
        if self.scale_grad_by_freq:
            text += f", scale_grad_by_freq={self.scale_grad_by_freq}"
        return text + (", sparse=True" if self.sparse else "")


class EmbeddingBag(Module):
    """Sums, means or maxima of the rows of a table over bags of numbers, without the single rows.

    Args:
        num_embeddings: rows of the table.
        embedding_dim: length of a row.
        max_norm: rows that are looked up and longer than this are shortened to it, in the table itself.
        norm_type: the p of that norm.
        scale_grad_by_freq: divide a row's gradient by how often it was looked up in the batch.
        mode: "sum", "mean" or "max".
        sparse: no effect, gradients are dense.
        include_last_offset: whether the offsets end with the end of the last bag.
        padding_idx: a row that counts for nothing and gets no gradient.

    Shape:
        input (bags, numbers), or (numbers) with offsets (bags); output (bags, embedding_dim).

    >>> import wengert as wg
    >>> bags = wg.nn.EmbeddingBag(10, 3, mode="sum")
    >>> bags(wg.tensor([1, 2, 4, 5, 4]), wg.tensor([0, 2])).shape
    wengert.Size([2, 3])
    """

    weight: Parameter

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        rows = self.num_embeddings = check_size("EmbeddingBag", "num_embeddings", num_embeddings)
        self.embedding_dim = check_size("EmbeddingBag", "embedding_dim", embedding_dim)
        self.padding_idx = _row("EmbeddingBag", padding_idx, rows)
        self.max_norm, self.norm_type, self.scale_grad_by_freq = max_norm, norm_type, scale_grad_by_freq
        self.mode, self.sparse, self.include_last_offset = mode, sparse, include_last_offset
        if _weight is None:
            self.weight = Parameter(api.empty(rows, self.embedding_dim, device=device, dtype=dtype))
            self.reset_parameters()
        else:
            self.weight = Parameter(_weight)

    @classmethod
    def from_pretrained(
        cls, embeddings: Tensor, freeze: bool = True, max_norm: float | None = None, norm_type: float = 2.0,
        scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False,
        include_last_offset: bool = False, padding_idx: int | None = None,
    ) -> EmbeddingBag:  # fmt: skip
        """A layer with the given table (rows, columns), which is not trained unless ``freeze`` is False."""
        if embeddings.ndim != 2:
            raise ShapeError(message("EmbeddingBag", "embeddings must be a matrix", f"shape {tuple(embeddings.shape)}"))
        rows, columns = embeddings.shape
        options = (max_norm, norm_type, scale_grad_by_freq, mode, sparse, embeddings, include_last_offset, padding_idx)
        bag = cls(rows, columns, *options)
        bag.weight.requires_grad_(not freeze)
        return bag

    def reset_parameters(self) -> None:
        """Draw the rows anew; the padding row becomes zero."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx] = 0.0

    def forward(self, input: Tensor, offsets: Any = None, per_sample_weights: Any = None) -> Tensor:
        return F.embedding_bag(
            input,
            self.weight,
            offsets,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.mode,
            self.sparse,
            per_sample_weights,
            self.include_last_offset,
            self.padding_idx,
        )

    def extra_repr(self) -> str:
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        if self.max_norm is not None:
            text += f", max_norm={self.max_norm}"
        if self.norm_type != 2:
            text += f", norm_type={self.norm_type}"
        if self.scale_grad_by_freq:
            text += f", scale_grad_by_freq={self.scale_grad_by_freq}"
        text += f", mode={self.mode!r}"
        return text if self.padding_idx is None else f"{text}, padding_idx={self.padding_idx}"
