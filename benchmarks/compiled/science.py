"""Scientific programs, float64, differentiated: each written once over a namespace of array functions.

The namespace is `wengert`, `torch` or JAX's under torch's names (`jax_names`). Loops are ``scan`` and
``while_loop``: Wengert's, JAX's, and Python's own for torch, which has no differentiable ones.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from .workload import COMPILED, EAGER, INDUCTOR, JAX, LIBRARY, TORCH, Call, Weights, Workload

Arrays = Sequence[Any]
STEPS = 64  # samples of the inner problem of `nested`


# Namespaces.


def jax_names() -> Any:
    """jax.numpy under torch's names."""
    jax: Any = importlib.import_module("jax")
    jax.config.update("jax_enable_x64", True)
    jnp = importlib.import_module("jax.numpy")
    own = {"logsumexp": jax.nn.logsumexp, "cat": jnp.concatenate, "amin": jnp.min, "scan": jax.lax.scan}
    own |= {"sigmoid": jax.nn.sigmoid, "softplus": jax.nn.softplus, "func": jax, "tensor": jnp.asarray}
    return SimpleNamespace(**{**vars(jnp), **own})


def python_scan(torch: Any) -> Callable[..., Any]:
    def scan(f: Any, carry: Any, xs: Any, length: int | None = None) -> Any:
        ys = []
        for i in range(len(xs) if length is None else length):
            carry, y = f(carry, None if xs is None else xs[i])
            ys.append(y)
        return carry, None if ys[0] is None else torch.stack(ys)

    return scan


def python_while(test: Any, body: Any, carries: Any) -> Any:
    while test(*carries):
        carries = body(*carries)
    return carries


def namespace(contender: str) -> Any:
    if contender == JAX:
        return jax_names()
    lib: Any = importlib.import_module(LIBRARY[contender])
    own = {"softplus": lib.nn.functional.softplus, "func": lib.func}
    if contender in (TORCH, INDUCTOR):
        own |= {"scan": python_scan(lib), "while_loop": python_while}
    return SimpleNamespace(**{name: getattr(lib, name) for name in dir(lib) if name not in own}, **own)


# Programs: `inputs` are differentiated, `constants` are not.


@dataclass(frozen=True)
class Program:
    arrays: Callable[[np.random.Generator, bool], tuple[Arrays, Arrays]]
    f: Callable[..., Any]  # f(namespace, inputs, constants)
    derivative: str = "gradient"  # or "hessian diagonal", "jacobians"


def lse_arrays(rng: np.random.Generator, quick: bool) -> tuple[Arrays, Arrays]:
    return [rng.standard_normal(12_800 if quick else 1_280_000)], []


def lse(xp: Any, inputs: Arrays, constants: Arrays) -> Any:
    return xp.logsumexp(inputs[0], 0)


def gmm_arrays(rng: np.random.Generator, quick: bool) -> tuple[Arrays, Arrays]:
    d, k, n = (8, 5, 100) if quick else (32, 50, 1000)
    index = np.zeros((d, d), np.int64)
    index[np.tril_indices(d, -1)] = 1 + np.arange(d * (d - 1) // 2)
    below = 0.1 * rng.standard_normal((k, d * (d - 1) // 2))
    inputs = [rng.standard_normal(k), rng.standard_normal((k, d)), 0.1 * rng.standard_normal((k, d)), below]
    return inputs, [rng.standard_normal((n, d)), index]


def gmm(xp: Any, inputs: Arrays, constants: Arrays) -> Any:
    """Log-likelihood of a mixture of Gaussians with a Wishart prior, as in ADBench (Šrajer et al. 2018)."""
    alphas, means, log_diagonal, below = inputs
    x, index = constants
    lower = xp.cat([xp.zeros_like(alphas[:, None]), below], 1)[:, index]
    centred = x[:, None, :] - means
    z = xp.exp(log_diagonal) * centred + xp.einsum("kij,nkj->nki", lower, centred)
    exponents = alphas + log_diagonal.sum(1) - 0.5 * (z * z).sum(2)
    prior = 0.5 * (xp.exp(2 * log_diagonal).sum() + (below * below).sum())
    return xp.logsumexp(exponents, 1).sum() - x.shape[0] * xp.logsumexp(alphas, 0) + prior


def kmeans_arrays(rng: np.random.Generator, quick: bool) -> tuple[Arrays, Arrays]:
    x = rng.standard_normal((1000 if quick else 200_000, 16))
    return [x[:10].copy()], [x]


def kmeans(xp: Any, inputs: Arrays, constants: Arrays) -> Any:
    c, x = inputs[0], constants[0]
    return xp.amin((x * x).sum(1)[:, None] - 2 * (x @ c.T) + (c * c).sum(1), 1).sum()


def ode_arrays(steps: int) -> Callable[[np.random.Generator, bool], tuple[Arrays, Arrays]]:
    def arrays(rng: np.random.Generator, quick: bool) -> tuple[Arrays, Arrays]:
        w = rng.standard_normal((16, 16)) / 4 - np.eye(16)
        return [w, rng.standard_normal(16)], [steps]

    return arrays


def ode(xp: Any, inputs: Arrays, constants: Arrays) -> Any:
    """y' = W tanh(y) by the classical Runge-Kutta method; the square of the last y."""
    w, start = inputs
    h = 0.01

    def slope(y: Any) -> Any:
        return w @ xp.tanh(y)

    def step(y: Any, _: Any) -> Any:
        k1 = slope(y)
        k2 = slope(y + h / 2 * k1)
        k3 = slope(y + h / 2 * k2)
        k4 = slope(y + h * k3)
        return y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), None

    y, _ = xp.scan(step, start, None, length=constants[0])
    return (y * y).sum()


def cell_arrays(rng: np.random.Generator, quick: bool) -> tuple[Arrays, Arrays]:
    inputs = [0.2 * rng.standard_normal((14, 14)), 0.5 * rng.standard_normal((14, 14)), rng.standard_normal(14)]
    return inputs, [rng.standard_normal((64 if quick else 4096, 14))]


def cell(xp: Any, inputs: Arrays, constants: Arrays) -> Any:
    w, u, b = inputs

    def step(h: Any, x: Any) -> Any:
        h = xp.tanh(w @ h + u @ x + b)
        return h, h

    _, hs = xp.scan(step, xp.zeros_like(b), constants[0])
    return (hs * hs).mean()


def bundle_arrays(rng: np.random.Generator, quick: bool) -> tuple[Arrays, Arrays]:
    p = rng.standard_normal((1000 if quick else 1_000_000, 15))
    p[:, 13] += 10  # before the camera
    return [p], []


def reprojection(xp: Any, p: Any) -> Any:
    """A weighted point as a camera with radial distortion sees it, after ADBench's bundle adjustment."""
    rotation, centre, focus, centre_2d, radial, point, weight = (
        p[0:3], p[3:6], p[6], p[7:9], p[9:11], p[11:14], p[14],
    )  # fmt: skip
    x = point - centre
    angle = xp.sqrt((rotation * rotation).sum())
    axis = rotation / angle
    cross = xp.stack(
        [axis[1] * x[2] - axis[2] * x[1], axis[2] * x[0] - axis[0] * x[2], axis[0] * x[1] - axis[1] * x[0]]
    )
    cos = xp.cos(angle)
    x = x * cos + cross * xp.sin(angle) + axis * ((axis * x).sum() * (1 - cos))
    flat = x[0:2] / x[2]
    r = (flat * flat).sum()
    return weight * (flat * (1 + radial[0] * r + radial[1] * r * r) * focus + centre_2d)


def bundle(xp: Any, inputs: Arrays, constants: Arrays) -> Any:
    return reprojection(xp, inputs[0])


def nested_arrays(rng: np.random.Generator, quick: bool) -> tuple[Arrays, Arrays]:
    x, other = rng.standard_normal((2, STEPS, 16))
    truth = rng.standard_normal(16)
    y, held = ((a @ truth + rng.standard_normal(STEPS) > 0).astype(float) for a in (x, other))
    return [np.full(16, -3.0)], [x, y, other, held]


def nested(xp: Any, inputs: Arrays, constants: Arrays, trips: int | None = None) -> Any:
    """Loss on held-out samples of a regression fitted until its gradient is small, by log weight decay."""
    (decay,), (x, y, other, held) = inputs, constants
    strength = xp.exp(decay)

    def slope(w: Any) -> Any:
        return x.T @ (xp.sigmoid(x @ w) - y) / STEPS + strength * w

    def going(w: Any, g: Any) -> Any:
        return (g * g).sum() > 1e-16

    def descend(w: Any, g: Any) -> Any:
        w = w - g
        return w, slope(w)

    start = xp.zeros_like(decay)
    if trips is None:
        w, _ = xp.while_loop(going, descend, (start, slope(start)))
    else:
        (w, _), _ = xp.scan(lambda c, _: (descend(*c), None), (start, slope(start)), None, length=trips)
    z = other @ w
    return (xp.softplus(z) - held * z).mean()


def trips_needed(inputs: Arrays, constants: Arrays) -> int:
    """How often the while loop of `nested` runs, counted with NumPy."""
    x, y = constants[:2]
    strength, count = np.exp(inputs[0]), 0
    w = np.zeros(16)
    while True:
        g = x.T @ (1 / (1 + np.exp(-(x @ w))) - y) / STEPS + strength * w
        if (g * g).sum() <= 1e-16:
            return count
        w, count = w - g, count + 1


# Derivatives.


def differentiated(program: Program, contender: str, xp: Any, f: Any, inputs: Arrays) -> Callable[..., Any]:
    """The function of the inputs that is measured, not compiled yet."""
    func, argnums = xp.func, tuple(range(len(inputs)))
    if program.derivative == "jacobians":
        return func.vmap(func.jacrev(f))
    if program.derivative == "hessian diagonal":  # the Hessian is diagonal: its product with ones
        return lambda *xs: func.jvp(func.grad(f), tuple(xs), tuple(xp.ones_like(x) for x in xs))[1]
    if contender in (TORCH, INDUCTOR):
        lib: Any = importlib.import_module("torch")
        g = lib.compile(f) if contender == INDUCTOR else f
        return lambda *xs: lib.autograd.grad(g(*xs), xs)
    return func.grad(f, argnums)


def build(program: Program) -> Callable[[str, Weights, bool], Call]:
    def make(contender: str, weights: Weights, quick: bool) -> Call:
        xp = namespace(contender)
        inputs, constants = program.arrays(np.random.default_rng(0), quick)
        options = {}
        if program.f is nested and contender == JAX:
            options["trips"] = trips_needed(inputs, constants)
        here = [xp.tensor(a) if isinstance(a, np.ndarray) else a for a in constants]
        xs = [xp.tensor(a) for a in inputs]
        run = differentiated(program, contender, xp, lambda *xs: program.f(xp, xs, here, **options), inputs)
        gradient = program.derivative == "gradient"
        if contender in (TORCH, INDUCTOR) and gradient:
            xs = [x.requires_grad_() for x in xs]
        if contender in (COMPILED, JAX) or (contender == INDUCTOR and not gradient):
            lib: Any = importlib.import_module(LIBRARY[contender])
            run = (lib.jit if contender == JAX else lib.compile)(run)
        return lambda: run(*xs)

    return make


NO_TORCH, NO_INDUCTOR = (EAGER, COMPILED, JAX), (EAGER, COMPILED, TORCH, JAX)


def science(name: str, title: str, program: Program, **options: Any) -> Workload:
    return Workload(name, title, "science", build(program), **{"tolerance": 1e-8, "bar": 1.0, **options})


LOOP = {"contenders": NO_INDUCTOR, "limits": {JAX: 10.0}}
LONG = {"contenders": NO_TORCH, "limits": {JAX: 10.0}, "against": JAX}

KMEANS = Program(kmeans_arrays, kmeans, "hessian diagonal")

WORKLOADS = [
    science("logsumexp", "log-sum-exp, 1.28 M", Program(lse_arrays, lse)),
    science("gmm", "Gaussian mixture, d 32, k 50, n 1000", Program(gmm_arrays, gmm)),
    science("kmeans", "k-means, Hessian diagonal, 200 000 × 16, k 10", KMEANS),
    science("rk4-100", "Runge-Kutta by scan, 100 steps", Program(ode_arrays(100), ode), **LOOP),
    science("rk4-1000", "Runge-Kutta by scan, 1 000 steps", Program(ode_arrays(1000), ode), **LONG),
    science("rk4-10000", "Runge-Kutta by scan, 10 000 steps", Program(ode_arrays(10_000), ode), **LONG),
    science("cell", "recurrent cell of width 14, 4 096 steps", Program(cell_arrays, cell), **LOOP),
    science("bundle", "Jacobians, 1 M × 2×15", Program(bundle_arrays, bundle, "jacobians")),
    science(
        "nested", "optimisation inside a gradient, by while", Program(nested_arrays, nested), **LOOP,
        note="JAX has no reverse mode of while: it gets a scan and is told the number of steps.",
    ),
]  # fmt: skip
