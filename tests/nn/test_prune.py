"""Pruning against masks computed with NumPy; torch's results are compared with in tests/parity."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import nn
from wengert.nn.utils import prune


def layer(*shape: int, seed: int = 0) -> Any:
    """A linear layer with a weight of all different sizes."""
    rows, columns = shape
    found = nn.Linear(columns, rows)
    rng = np.random.default_rng(seed)
    values = (1 + rng.permutation(rows * columns)) * rng.choice([-1, 1], rows * columns)
    found.weight.data = wg.tensor(values.reshape(shape).astype(np.float32))
    return found


def smallest(values: Any, count: int) -> Any:
    """A mask with zeros for the smallest."""
    mask = np.ones(values.size)
    mask[np.argsort(values, axis=None, kind="stable")[:count]] = 0
    return mask.reshape(values.shape)


@pytest.mark.parametrize(("amount", "count"), [(3, 3), (0, 0), (15, 15), (0.5, 8), (1.0, 15), (0.0, 0), (0.34, 5)])
def test_l1_unstructured(amount: float, count: int) -> None:
    m = layer(5, 3)
    before = m.weight.detach().numpy().copy()
    parameter = m.weight
    assert prune.l1_unstructured(m, "weight", amount) is m
    np.testing.assert_array_equal(m.weight_mask.numpy(), smallest(np.abs(before), count))
    np.testing.assert_array_equal(m.weight.detach().numpy(), before * m.weight_mask.numpy())
    assert m.weight_orig is parameter and dict(m.named_parameters()).keys() == {"weight_orig", "bias"}
    np.testing.assert_array_equal(parameter.detach().numpy(), before)


def test_again_prunes_what_is_left() -> None:
    m = layer(4, 5)
    before = np.abs(m.weight.detach().numpy())
    prune.l1_unstructured(m, "weight", 5)
    prune.l1_unstructured(m, "weight", 0.4)  # of the 15 that are left
    np.testing.assert_array_equal(m.weight_mask.numpy(), smallest(before, 11))
    prune.random_unstructured(m, "weight", 2)
    assert (m.weight_mask == 0).sum().item() == 13
    (hook,) = [hook for hook, _ in m._forward_pre_hooks.values()]
    assert isinstance(hook, prune.PruningContainer)
    assert [type(method).__name__ for method in hook] == ["L1Unstructured", "L1Unstructured", "RandomUnstructured"]
    assert len(hook) == 3 and hook[-1].amount == 2


@pytest.mark.parametrize(("n", "dim"), [(1, 0), (2, 0), (2, -1), (np.inf, 1), (-np.inf, 0), ("fro", 2)])
def test_ln_structured(n: Any, dim: int) -> None:
    m = nn.Conv1d(6, 5, 4)
    w = m.weight.detach().numpy().astype(float)
    rows = np.moveaxis(w, dim, 0).reshape(w.shape[dim], -1)
    norms = np.linalg.norm(rows, None if n == "fro" else n, axis=1)
    prune.ln_structured(m, "weight", 2, n, dim)
    shape = [1, 1, 1]
    shape[dim] = -1
    np.testing.assert_array_equal(m.weight_mask.numpy(), np.ones_like(w) * smallest(norms, 2).reshape(shape))


def test_structured_after_others_looks_at_channels_that_are_left() -> None:
    m = layer(6, 3)
    m.weight.data = wg.arange(1.0, 19.0).reshape(6, 3)
    prune.custom_from_mask(m, "weight", wg.tensor([[0.0] * 3] * 2 + [[1.0, 0.0, 1.0]] * 4))
    prune.ln_structured(m, "weight", 1, 2, 0)
    assert m.weight_mask.tolist() == [[0.0] * 3] * 3 + [[1.0, 0.0, 1.0]] * 3
    prune.random_structured(m, "weight", 0.34, 0)  # one of three
    assert (m.weight_mask.sum(1) == 0).sum().item() == 4


def test_importance_scores_decide() -> None:
    m = layer(2, 3)
    prune.l1_unstructured(m, "weight", 2, importance_scores=wg.tensor([[5.0, 1.0, 4.0], [3.0, 0.5, 2.0]]))
    assert m.weight_mask.tolist() == [[1, 0, 1], [1, 0, 1]]
    prune.ln_structured(m, "weight", 1, 1, 1, importance_scores=wg.tensor([[5.0, 1.0, 9.0], [3.0, 0.5, 2.0]]))
    assert m.weight_mask.tolist() == [[0, 0, 1], [0, 0, 1]]


def test_random_pruning_counts() -> None:
    m = layer(40, 30)
    prune.random_unstructured(m, "weight", 0.25)
    assert (m.weight_mask == 0).sum().item() == 300
    zeros = (m.weight_mask == 0).sum(0)
    assert zeros.min().item() < zeros.max().item()
    other = layer(40, 30)
    prune.random_structured(other, "weight", 7, 1)
    assert sorted(other.weight_mask.sum(0).tolist()) == [0.0] * 7 + [40.0] * 23


def test_global_pruning() -> None:
    a, b = layer(3, 4, seed=1), layer(5, 2, seed=2)
    prune.custom_from_mask(b, "weight", wg.tensor([[0.0, 1.0]] * 5))
    both = np.concatenate([np.abs(a.weight.detach().numpy()).ravel(), np.abs(b.weight.detach().numpy())[:, 1]])
    mask = smallest(both, 6)
    prune.global_unstructured(iter([(a, "weight"), (b, "weight")]), prune.L1Unstructured, amount=6)
    np.testing.assert_array_equal(a.weight_mask.numpy().ravel(), mask[:12])
    np.testing.assert_array_equal(b.weight_mask.numpy()[:, 1], mask[12:])
    assert not b.weight_mask.numpy()[:, 0].any()
    c, d = layer(2, 2), layer(2, 2)
    scores = {(c, "weight"): wg.full((2, 2), 100.0)}
    prune.global_unstructured([(c, "weight"), (d, "weight")], prune.L1Unstructured, scores, amount=0.5)
    assert c.weight_mask.all() and not d.weight_mask.any()


def test_training_leaves_zeros_and_the_optimizer_keeps_its_parameter() -> None:
    m = layer(3, 4)
    optimizer = wg.optim.SGD(m.parameters(), lr=0.1)
    prune.l1_unstructured(m, "weight", 0.5)
    original = m.weight_orig.detach().clone()
    for _ in range(2):
        optimizer.zero_grad()
        (m(wg.ones(2, 4)) ** 2).sum().backward()
        optimizer.step()
    assert not (m.weight_orig.grad * (1 - m.weight_mask)).any()
    gone = m.weight_mask == 0
    assert wg.equal(m.weight_orig[gone], original[gone]) and not wg.equal(m.weight_orig, original)
    m(wg.ones(1, 4))
    assert wg.equal(m.weight, m.weight_orig * m.weight_mask)


@pytest.mark.slow
def test_a_compiled_step_of_a_pruned_network() -> None:
    def losses(compiled: bool) -> list[float]:
        wg.manual_seed(1)
        net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
        prune.l1_unstructured(net[0], "weight", 0.5)
        optimizer = wg.optim.Adam(net.parameters(), lr=0.05)
        x = wg.randn(16, 4)

        def step() -> Any:
            optimizer.zero_grad()
            loss = ((net(x) - x.sum(1, keepdim=True)) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        run = wg.compile(step) if compiled else step
        return [run().item() for _ in range(5)]

    assert losses(True) == pytest.approx(losses(False), rel=1e-4)


def test_states_and_removal() -> None:
    m = layer(3, 4)
    weight = m.weight
    prune.random_unstructured(m, "weight", 5)
    state = m.state_dict()
    assert list(state) == ["bias", "weight_orig", "weight_mask"]
    other = prune.identity(layer(3, 4, seed=5), "weight")
    assert other.weight_mask.all()
    other.load_state_dict(state)
    assert wg.equal(other(wg.ones(1, 4)), m(wg.ones(1, 4)))
    assert prune.is_pruned(nn.Sequential(m)) and not prune.is_pruned(layer(1, 1))
    pruned = m.weight.detach().clone()
    assert prune.remove(m, "weight") is m
    assert m.weight is weight and wg.equal(m.weight, pruned)
    assert list(m.state_dict()) == ["bias", "weight"] and not m._forward_pre_hooks
    with pytest.raises(ValueError, match="'weight' has to be pruned before pruning can be removed"):
        prune.remove(m, "weight")


def test_custom_masks_multiply() -> None:
    m = layer(2, 2)
    prune.custom_from_mask(m, "weight", wg.tensor([[1, 0], [1, 1]]))
    prune.custom_from_mask(m, "weight", wg.tensor([[1, 1], [0, 1]]))
    assert m.weight_mask.tolist() == [[1.0, 0.0], [0.0, 1.0]]
    prune.custom_from_mask(m, "bias", wg.tensor([True, False]))
    assert prune.remove(m, "bias").bias[1].item() == 0.0 and prune.is_pruned(m)


def test_tensors_are_pruned_without_a_module() -> None:
    t = wg.tensor([3.0, -1.0, 2.0])
    assert prune.L1Unstructured(1).prune(t).tolist() == [3.0, -0.0, 2.0]
    assert prune.L1Unstructured(1).prune(t, wg.tensor([0.0, 1.0, 1.0])).tolist() == [0.0, -0.0, 2.0]
    assert prune.L1Unstructured(1).prune(t, importance_scores=wg.tensor([1.0, 2.0, 3.0])).tolist() == [0.0, -1.0, 2.0]


class Unknown(prune.BasePruningMethod):
    PRUNING_TYPE = "odd"

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        return default_mask


@pytest.mark.quick(pruned=[True])
@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda m: prune.l1_unstructured(m, "weight", -1), ValueError, "a non-negative integer: -1"),
        (lambda m: prune.l1_unstructured(m, "weight", 1.5), ValueError, r"in the range \[0, 1\]"),
        (lambda m: prune.l1_unstructured(m, "weight", float("nan")), ValueError, r"in the range \[0, 1\]"),
        (lambda m: prune.l1_unstructured(m, "weight", "1"), TypeError, "must be int or float: str"),
        (lambda m: prune.l1_unstructured(m, "weight", 7), ValueError, "not be larger than the 6 that there are"),
        (lambda m: prune.ln_structured(m, "weight", 1, 2, 2), IndexError, "dim 2 is out of range"),
        (lambda m: prune.random_structured(m, "bias", 1, 0), ValueError, "at least 2 dimensions"),
        (lambda m: prune.l1_unstructured(m, "weight", 1, wg.ones(2)), ValueError, "must have the tensor's shape"),
        (lambda m: prune.custom_from_mask(m, "weight", wg.ones(2)), ValueError, "must have the tensor's shape"),
        (lambda m: prune.l1_unstructured(m, "other", 1), AttributeError, "no attribute 'other'"),
        (lambda m: prune.global_unstructured(3, prune.L1Unstructured), TypeError, "not an Iterable"),
        (lambda m: prune.global_unstructured([(m, "weight")], prune.L1Unstructured, 3), TypeError, "of type dict"),
        (
            lambda m: prune.global_unstructured([(m, "weight")], prune.RandomStructured, amount=1),
            TypeError,
            "only methods with PRUNING_TYPE 'unstructured'.*RandomStructured",
        ),
        (lambda m: prune.PruningContainer(3), TypeError, "not a BasePruningMethod: int"),
    ],
)
@pytest.mark.parametrize("pruned", [False, True])
def test_refused_and_nothing_changed(call: Any, error: Any, words: str, pruned: bool) -> None:
    m = nn.Linear(3, 2)
    if pruned:
        prune.identity(m, "weight")
        prune.identity(m, "bias")
    state = {k: v.clone() for k, v in m.state_dict().items()}
    hooks = list(m._forward_pre_hooks.values())
    with pytest.raises(error, match=words):
        call(m)
    assert list(m.state_dict()) == list(state) and all(wg.equal(v, state[k]) for k, v in m.state_dict().items())
    assert list(m._forward_pre_hooks.values()) == hooks and all(len(h) == 1 for h, _ in hooks if hasattr(h, "__len__"))


def test_unknown_kinds_of_pruning() -> None:
    m = prune.identity(nn.Linear(3, 2), "weight")
    with pytest.raises(ValueError, match="unrecognized PRUNING_TYPE: 'odd'"):
        Unknown.apply(m, "weight")
    a, b = prune.Identity(), prune.Identity()
    a._tensor_name, b._tensor_name = "weight", "bias"
    with pytest.raises(ValueError, match="acting on the parameter named 'weight': 'bias'"):
        prune.PruningContainer(a, b)
    with pytest.raises(ValueError, match="has to be pruned"):
        prune.Identity().remove(m)
