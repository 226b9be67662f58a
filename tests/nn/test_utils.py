"""Clipping, vectors of parameters, weight and spectral normalisation, parametrizations."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import nn
from wengert.nn import utils
from wengert.nn.utils import parametrizations, parametrize

INF = float("inf")


def graded(*gradients: list[float]) -> list[Any]:
    parameters = []
    for gradient in gradients:
        p = nn.Parameter(wg.zeros(len(gradient)))
        p.grad = wg.tensor(gradient)
        parameters.append(p)
    return [*parameters, nn.Parameter(wg.ones(1))]  # the last one has no gradient


@pytest.mark.parametrize(("p", "norm"), [(2.0, 13.0), (1.0, 19.0), (INF, 12.0), (3.0, (27 + 64 + 1728) ** (1 / 3))])
def test_clipping_by_norm(p: float, norm: float) -> None:
    parameters = graded([3.0, -4.0], [12.0])
    assert utils.clip_grad_norm_(parameters, 1.0, norm_type=p).item() == pytest.approx(norm)
    after = utils.get_total_norm([q.grad for q in parameters[:2]], p).item()
    assert after == pytest.approx(1.0, rel=1e-5)
    assert parameters[0].grad[1].item() == pytest.approx(-4 / norm, rel=1e-5)
    assert utils.clip_grad_norm_(iter(parameters), 5.0, norm_type=p).item() == pytest.approx(1.0, rel=1e-5)
    assert parameters[0].grad[1].item() == pytest.approx(-4 / norm, rel=1e-5)


def test_clipping_what_is_not_there_or_not_finite() -> None:
    assert utils.clip_grad_norm_([nn.Parameter(wg.ones(1))], 1.0).item() == 0.0
    assert utils.clip_grad_norm_(graded([3.0])[0], 1.0).item() == 3.0
    with pytest.raises(RuntimeError, match=r"the total norm of order 2\.0 is non-finite: inf"):
        utils.clip_grad_norm_(graded([INF]), 1.0, error_if_nonfinite=True)


def test_clipping_by_value() -> None:
    parameters = graded([3.0, -4.0], [0.5])
    utils.clip_grad_value_(parameters, 1.0)
    assert [p.grad.tolist() for p in parameters[:2]] == [[1.0, -1.0], [0.5]]


def test_parameters_as_a_vector() -> None:
    net = nn.Linear(2, 3)
    vector = utils.parameters_to_vector(net.parameters())
    assert vector.shape == (9,)
    vector.sum().backward()
    assert net.weight.grad.tolist() == [[1.0, 1.0]] * 3
    weight = net.weight
    utils.vector_to_parameters(wg.arange(9.0), net.parameters())
    assert net.weight is weight
    assert net.bias.tolist() == [6.0, 7.0, 8.0]
    with pytest.raises(ValueError, match="expected a vector of 9 elements: shape"):
        utils.vector_to_parameters(wg.ones(8), net.parameters())


@pytest.mark.parametrize("norm", [utils.weight_norm, utils.parametrizations.weight_norm])
def test_weight_norm_changes_nothing_at_first(norm: Any) -> None:
    layer, x = nn.Linear(3, 2), wg.randn(4, 3)
    before = layer(x)
    norm(layer)
    assert wg.allclose(layer(x), before, atol=1e-6)
    layer(x).sum().backward()
    assert all(p.grad is not None for p in layer.parameters())
    assert len(list(layer.parameters())) == 3
    if norm is utils.parametrizations.weight_norm:  # the older one keeps its last weight, which is no leaf
        assert wg.equal(copy.deepcopy(layer)(x), layer(x))


@pytest.mark.parametrize("norm", [utils.spectral_norm, utils.parametrizations.spectral_norm])
def test_spectral_norm_makes_the_largest_singular_value_one(norm: Any) -> None:
    layer = norm(nn.Linear(4, 3), n_power_iterations=100)
    layer(wg.ones(1, 4))
    assert np.linalg.norm(layer.weight.detach().numpy(), 2) == pytest.approx(1.0, abs=1e-4)
    # Two calls before one backward, as in training a GAN.
    (layer(wg.ones(1, 4)) - layer(wg.zeros(1, 4))).sum().backward()


def test_norms_can_be_removed() -> None:
    for norm, remove in (
        (utils.weight_norm, utils.remove_weight_norm),
        (utils.spectral_norm, utils.remove_spectral_norm),
    ):
        layer, x = norm(nn.Linear(3, 2)).eval(), wg.randn(4, 3)
        before = layer(x)
        remove(layer)
        assert sorted(layer.state_dict()) == ["bias", "weight"]
        assert wg.allclose(layer(x), before, atol=1e-6)
        with pytest.raises(ValueError, match="'weight' is not normalised in: Linear"):
            remove(layer)


class Symmetric(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.triu() + x.triu(1).T


class Positive(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.exp()

    def right_inverse(self, x: Any) -> Any:
        return x.log()


def test_parametrizations() -> None:
    layer = nn.Linear(3, 3)
    original = layer.weight
    parametrize.register_parametrization(layer, "weight", Symmetric())
    assert type(layer).__name__ == "ParametrizedLinear"
    assert isinstance(layer, nn.Linear)
    assert layer.parametrizations.weight.original is original
    assert wg.equal(layer.weight, layer.weight.T)
    assert parametrize.is_parametrized(layer, "weight")
    assert not parametrize.is_parametrized(layer, "bias")
    with parametrize.cached():
        assert layer.weight is layer.weight
    layer(wg.ones(1, 3)).sum().backward()
    assert original.grad is not None
    parametrize.remove_parametrizations(layer, "weight")
    assert type(layer) is nn.Linear
    assert list(dict(layer.named_parameters())) == ["bias", "weight"]


def test_parametrizations_can_be_assigned_and_chained() -> None:
    layer = nn.Linear(2, 2)
    nn.init.uniform_(layer.weight, 1.0, 2.0)
    before = layer.weight.tolist()
    parametrize.register_parametrization(layer, "weight", Positive())
    np.testing.assert_allclose(layer.weight.tolist(), before, rtol=1e-6)
    layer.weight = wg.full((2, 2), 3.0)
    np.testing.assert_allclose(layer.parametrizations.weight.original.tolist(), np.full((2, 2), np.log(3.0)), rtol=1e-6)
    parametrize.register_parametrization(layer, "weight", Symmetric())
    assert wg.equal(layer.weight, layer.weight.T)
    parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
    np.testing.assert_allclose(layer.weight.tolist(), np.full((2, 2), np.log(3.0)), rtol=1e-6)


def test_parametrizations_are_checked() -> None:
    class Wider(nn.Module):
        def forward(self, x: Any) -> Any:
            return x[:, :1]

    with pytest.raises(ValueError, match="changes shape or dtype"):
        parametrize.register_parametrization(nn.Linear(2, 2), "weight", Wider())
    with pytest.raises(ValueError, match="Linear has no parameter or buffer 'scale'"):
        parametrize.register_parametrization(nn.Linear(2, 2), "scale", Wider())
    with pytest.raises(ValueError, match=r"Linear\.weight is not parametrized"):
        parametrize.remove_parametrizations(nn.Linear(2, 2), "weight")


@pytest.mark.parametrize("norm", [parametrizations.orthogonal, parametrizations.weight_norm])
def test_parametrizations_are_shared(norm: Any) -> None:
    one, other = norm(nn.Linear(3, 3)), nn.Linear(3, 3)
    assert parametrize.type_before_parametrizations(one) is nn.Linear
    assert parametrize.transfer_parametrizations_and_params(one, other) is other
    assert type(other).__name__ == "ParametrizedLinear" and wg.equal(one.weight, other.weight)
    assert list(other.state_dict()) == list(one.state_dict())
    entries = [dict(m.parametrizations.weight.named_parameters()) for m in (one, other)]
    assert all(entries[0][name] is entries[1][name] for name in entries[0])
    bare = nn.Module()
    parametrize.transfer_parametrizations_and_params(one, bare, "weight")
    assert wg.equal(bare.weight, one.weight)
    plain = nn.Linear(3, 3)
    assert parametrize.transfer_parametrizations_and_params(nn.Linear(3, 3), plain) is plain
    assert parametrize.type_before_parametrizations(plain) is nn.Linear and not parametrize.is_parametrized(plain)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["copied", "pickled"])
def test_a_parametrized_module_again(again: Any) -> None:
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    other = again(layer)
    assert wg.equal(other(wg.ones(1, 3)), layer(wg.ones(1, 3)))
    assert nn.utils.parametrize.type_before_parametrizations(other) is nn.Linear
    nn.utils.parametrize.remove_parametrizations(other, "weight")
    assert type(other) is nn.Linear
    assert nn.utils.parametrize.is_parametrized(layer, "weight")
    assert layer(wg.ones(1, 3)).shape == (1, 2)


def test_functions_can_be_pickled() -> None:
    from wengert.nn import functional as F

    layer = nn.TransformerEncoderLayer(4, 2, 8, activation="gelu")
    assert pickle.loads(pickle.dumps(layer)).activation is F.gelu
    for namespace in (wg, F, wg.linalg, wg.special, wg.fft):
        for name, function in vars(namespace).items():
            if inspect.isfunction(function) and name[0] != "_":
                assert pickle.loads(pickle.dumps(function)) is function, name
