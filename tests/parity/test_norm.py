"""Normalisations against torch."""

from __future__ import annotations

import numpy as np
import pytest

HALF = ("float32", "float16", "bfloat16")


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5), (2, 3, 4, 5), (2, 3, 2, 2, 3)])
@pytest.mark.parametrize(
    "text",
    [
        "F.batch_norm(x, None, None, training=True)",
        "F.batch_norm(x, None, None, w, b, True, 0.1, 1e-3)",
        "F.batch_norm(x, const_mean, const_var, w, b)",
        "F.batch_norm(x, const_mean, const_var, None, None, False)",
        "(F.batch_norm(x, const_mean, const_var, w, b, True, 0.3), const_mean, const_var)",
    ],
)
def test_batch_norm(agree, text, shape):
    agree(text, HALF, x=normal(*shape), w=normal(3), b=normal(3, seed=1), const_mean=normal(3, seed=2),
          const_var=np.array([0.5, 1.0, 2.0]), tol=4)  # fmt: skip


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 4, 5), (1, 3, 2, 2, 3)])
@pytest.mark.parametrize(
    "text",
    [
        "F.instance_norm(x)",
        "F.instance_norm(x, None, None, w, b, True, 0.1, 1e-2)",
        "(F.instance_norm(x, const_mean, const_var, w, b, True, 0.3), const_mean, const_var)",
        "F.instance_norm(x, const_mean, const_var, w, b, False)",
    ],
)
def test_instance_norm(agree, text, shape):
    agree(text, x=normal(*shape), w=normal(3), b=normal(3, seed=1), const_mean=normal(3, seed=2),
          const_var=np.array([0.5, 1.0, 2.0]), tol=4)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shape", "parameters"),
    [
        ("F.layer_norm(x, (5,))", (2, 5), (5,)),
        ("F.layer_norm(x, (5,), w, b)", (2, 3, 5), (5,)),
        ("F.layer_norm(x, (3, 5), w, b, 1e-2)", (2, 3, 5), (3, 5)),
        ("F.layer_norm(x, (3, 5), w)", (3, 5), (3, 5)),
        ("F.layer_norm(x, (5,), None, b)", (0, 5), (5,)),
        ("F.group_norm(x, 2)", (2, 4), (4,)),
        ("F.group_norm(x, 2, w, b)", (2, 4, 3), (4,)),
        ("F.group_norm(x, 1, w, b, 1e-2)", (2, 4, 3, 2), (4,)),
        ("F.group_norm(x, 4, w)", (2, 4, 3, 2), (4,)),
        ("F.rms_norm(x, (5,))", (2, 5), (5,)),
        ("F.rms_norm(x, (5,), w)", (2, 3, 5), (5,)),
        ("F.rms_norm(x, (3, 5), w, 0.1)", (2, 3, 5), (3, 5)),
        ("F.rms_norm(x, [5], w)", (0, 5), (5,)),
        ("F.local_response_norm(x, 2)", (2, 5, 3), (1,)),
        ("F.local_response_norm(x, 3, 0.1, 0.5, 2.0)", (2, 5, 3, 4), (1,)),
        ("F.local_response_norm(x, 7, 0.1)", (2, 3, 2, 2, 2), (1,)),
        ("F.normalize(x)", (2, 5), (1,)),
        ("F.normalize(x, 1, -1)", (2, 3, 5), (1,)),
        ("F.normalize(x, 3.0, (0, 1))", (2, 3, 5), (1,)),
        ("F.normalize(x, float('inf'), 0)", (2, 3, 5), (1,)),
        ("F.normalize(x * 0)", (2, 5), (1,)),
        ("F.normalize(x, eps=10.0)", (2, 5), (1,)),
    ],
)
def test_norm(agree, text, shape, parameters):
    dtypes = ("float32",) if "local" in text else HALF  # torch has no half precision there
    agree(text, dtypes, x=normal(*shape), w=normal(*parameters, seed=1), b=normal(*parameters, seed=2), tol=4)


def test_small_values(agree):
    """Where eps matters: the default of rms_norm depends on the dtype."""
    agree("F.rms_norm(x, (5,))", HALF, x=normal(3, 5) * 1e-3, tol=4)
    agree("F.layer_norm(x, (5,))", HALF, x=normal(3, 5) * 1e-3 + 1, tol=4)
