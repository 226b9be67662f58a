"""Parallel modules of PyTorch's programs. There is one device here, which uses its cores by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .module import Module


class DataParallel(Module):
    """Runs ``module``, as PyTorch's does on a machine without a GPU.

    Its state has the keys ``module.*``, so that states which such programs saved can be loaded and written.

    Args:
        module: the network.
        device_ids: no effect, like the arguments after it: there are no devices to spread batches over.

    >>> import wengert as wg
    >>> net = wg.nn.DataParallel(wg.nn.Linear(2, 1))
    >>> list(net.state_dict()), net(wg.ones(4, 2)).shape
    (['module.weight', 'module.bias'], wengert.Size([4, 1]))
    """

    module: Module

    def __init__(
        self, module: Module, device_ids: Sequence[Any] | None = None, output_device: Any = None, dim: int = 0
    ) -> None:
        super().__init__()
        self.module = module
        self.device_ids: list[Any] = []

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        return self.module(*inputs, **kwargs)


def data_parallel(
    module: Module,
    inputs: Any,
    device_ids: Sequence[Any] | None = None,
    output_device: Any = None,
    dim: int = 0,
    module_kwargs: dict[str, Any] | None = None,
) -> Any:
    """``module(*inputs, **module_kwargs)``: `DataParallel` without a module of its own.

    >>> import wengert as wg
    >>> wg.nn.parallel.data_parallel(wg.nn.ReLU(), wg.tensor([-1.0, 1.0])).tolist()
    [0.0, 1.0]
    """
    given = inputs if isinstance(inputs, tuple) else (inputs,)
    return DataParallel(module, device_ids, output_device, dim)(*given, **(module_kwargs or {}))
