"""Averages of weights."""

from __future__ import annotations

import copy
from typing import Any

import pytest

import wengert as wg
from wengert import nn, optim
from wengert.optim import swa_utils

VALUES = [1.0, 2.0, 6.0, -3.0]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, 1.5),
        ({"multi_avg_fn": swa_utils.get_swa_multi_avg_fn()}, 1.5),
        ({"avg_fn": swa_utils.get_ema_avg_fn(0.5)}, ((1 + 2) / 2 + 6) / 4 - 1.5),
        ({"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.5)}, ((1 + 2) / 2 + 6) / 4 - 1.5),
    ],
)
def test_averages(options: dict[str, Any], wanted: float) -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    average = swa_utils.AveragedModel(model, **options)
    for value in VALUES:
        model[0].weight.detach().fill_(value)
        model[1].running_mean.fill_(value)
        average.update_parameters(model)
    assert average.module[0].weight.item() == pytest.approx(wanted)
    assert average.module[1].running_mean.item() == -3.0
    assert average.n_averaged.item() == 4
    other = swa_utils.AveragedModel(model)
    other.load_state_dict(copy.deepcopy(average.state_dict()))
    assert other.module[0].weight.item() == pytest.approx(wanted)
    x = wg.ones(2, 1)
    assert other.eval()(x).tolist() == average.eval()(x).tolist()


def test_buffers_may_be_averaged() -> None:
    model = nn.BatchNorm1d(1)
    average = swa_utils.AveragedModel(model, use_buffers=True)
    for value in VALUES:
        model.running_mean.fill_(value)
        average.update_parameters(model)
    assert average.module.running_mean.item() == pytest.approx(1.5)


def test_update_bn() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2, momentum=0.3)).eval()
    batches = [(wg.tensor([[1.0, 2.0], [3.0, 6.0]]), 0), [wg.tensor([[5.0, 0.0], [7.0, 2.0]])]]
    swa_utils.update_bn(batches, model)
    assert model[0].running_mean.tolist() == pytest.approx([4.0, 2.5])
    assert (model[0].momentum, model.training) == (0.3, False)
    swa_utils.update_bn(batches, nn.Linear(2, 2))  # nothing to do


def test_refused() -> None:
    with pytest.raises(ValueError, match=r"Invalid decay value: 1\.5"):
        swa_utils.get_ema_multi_avg_fn(1.5)
    with pytest.raises(ValueError, match="Only one of avg_fn and multi_avg_fn"):
        swa_utils.AveragedModel(nn.Linear(1, 1), avg_fn=max, multi_avg_fn=max)
    optimizer = optim.SGD([nn.Parameter(wg.ones(1))])
    with pytest.raises(ValueError, match="anneal_strategy must be one of"):
        swa_utils.SWALR(optimizer, 0.1, anneal_strategy="x")
    with pytest.raises(ValueError, match="anneal_epochs must be equal or greater than 0"):
        swa_utils.SWALR(optimizer, 0.1, anneal_epochs=-1)
