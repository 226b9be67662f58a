"""The same networks as plain JAX functions of a dictionary of weights, named as in the state dict."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Params = dict[str, Any]


def linear(p: Params, name: str, x: Any) -> Any:
    y = x @ p[f"{name}.weight"].T
    return y + p[f"{name}.bias"] if f"{name}.bias" in p else y


def sequence(p: Params, s: Params, x: Any, activation: Callable[[Any], Any]) -> Any:
    """Linear layers "0", "2", "4" with the activation between."""
    return linear(p, "4", activation(linear(p, "2", activation(linear(p, "0", x))))), s


def conv(p: Params, name: str, x: Any, stride: int, padding: int) -> Any:
    """NHWC, which XLA's CPU kernels want; the weights are HWIO (see `split`)."""
    pads, names = [(padding, padding)] * 2, ("NHWC", "HWIO", "NHWC")
    y = lax.conv_general_dilated(x, p[f"{name}.weight"], (stride, stride), pads, dimension_numbers=names)
    return y + p[f"{name}.bias"] if f"{name}.bias" in p else y


def batch_norm(p: Params, s: Params, new: Params, name: str, x: Any) -> Any:
    mean, var, n = x.mean((0, 1, 2)), x.var((0, 1, 2)), x.size // x.shape[-1]
    new[f"{name}.running_mean"] = 0.9 * s[f"{name}.running_mean"] + 0.1 * mean
    new[f"{name}.running_var"] = 0.9 * s[f"{name}.running_var"] + 0.1 * var * (n / (n - 1))
    return (x - mean) * lax.rsqrt(var + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]


def resnet20(p: Params, s: Params, x: Any) -> Any:
    new: Params = {}
    norm = partial(batch_norm, p, s, new)
    x = jax.nn.relu(norm("bn1", conv(p, "conv1", x, 1, 1)))
    for i in range(9):
        stride, b = (2 if i in (3, 6) else 1), f"blocks.{i}"
        y = jax.nn.relu(norm(f"{b}.bn1", conv(p, f"{b}.conv1", x, stride, 1)))
        y = norm(f"{b}.bn2", conv(p, f"{b}.conv2", y, 1, 1))
        if stride == 2:
            half = x.shape[-1] // 2
            x = jnp.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (half, half)))
        x = jax.nn.relu(y + x)
    return linear(p, "linear", x.mean((1, 2))), new


def resnet34(p: Params, s: Params, x: Any) -> Any:
    new: Params = {}
    norm = partial(batch_norm, p, s, new)
    x = jax.nn.relu(norm("bn1", conv(p, "conv1", x, 2, 3)))
    x = pool(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-jnp.inf), 3, 2)
    for i in range(16):
        stride, b = (2 if i in (3, 7, 13) else 1), f"blocks.{i}"
        y = jax.nn.relu(norm(f"{b}.bn1", conv(p, f"{b}.conv1", x, stride, 1)))
        y = norm(f"{b}.bn2", conv(p, f"{b}.conv2", y, 1, 1))
        if stride == 2:
            x = norm(f"{b}.downsample.1", conv(p, f"{b}.downsample.0", x, 2, 0))
        x = jax.nn.relu(y + x)
    return linear(p, "fc", x.mean((1, 2))), new


def pool(x: Any, size: int, stride: int) -> Any:
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, size, size, 1), (1, stride, stride, 1), "VALID")


def full(p: Params, first: int, x: Any) -> Any:
    """Three full layers after convolutions; the rows of the first are in the order of NCHW."""
    x = x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
    for i in (first, first + 2):
        x = jax.nn.relu(linear(p, str(i), x))
    return linear(p, str(first + 4), x)


def vgg19(p: Params, s: Params, x: Any) -> Any:
    from .vision import VGG19

    place = 0
    for width in VGG19:
        x = jax.nn.relu(conv(p, str(place), x, 1, 1)) if width else pool(x, 2, 2)
        place += 2 if width else 1
    return full(p, place + 2, x), s


def alexnet(p: Params, s: Params, x: Any) -> Any:
    x = pool(jax.nn.relu(conv(p, "0", x, 4, 2)), 3, 2)
    x = pool(jax.nn.relu(conv(p, "3", x, 1, 2)), 3, 2)
    for place in ("6", "8", "10"):
        x = jax.nn.relu(conv(p, place, x, 1, 1))
    return full(p, 15, pool(x, 3, 2)), s


def lstm(p: Params, s: Params, tokens: Any) -> Any:
    x = p["embedding.weight"][tokens]
    gates_x = x @ p["lstm.weight_ih_l0"].T + p["lstm.bias_ih_l0"] + p["lstm.bias_hh_l0"]
    w = p["lstm.weight_hh_l0"].T

    def cell(carry: Any, gates: Any) -> Any:
        h, c = carry
        i, f, g, o = jnp.split(gates + h @ w, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zero = jnp.zeros((x.shape[0], w.shape[0]))
    _, out = lax.scan(cell, (zero, zero), gates_x.swapaxes(0, 1))
    return linear(p, "head", out.swapaxes(0, 1)).reshape(-1, 65), s


def layer_norm(p: Params, name: str, x: Any) -> Any:
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    y = (x - mean) * lax.rsqrt(var + 1e-5) * p[f"{name}.weight"]
    return y + p[f"{name}.bias"] if f"{name}.bias" in p else y


def gpt(heads: int, p: Params, s: Params, tokens: Any) -> Any:
    n, t = tokens.shape
    x = p["wte.weight"][tokens] + p["wpe.weight"][:t]
    width, layer = x.shape[-1], 0
    while f"h.{layer}.ln_1.weight" in p:
        b, layer = f"h.{layer}", layer + 1
        qkv = linear(p, f"{b}.attn.c_attn", layer_norm(p, f"{b}.ln_1", x))
        q, k, v = (a.reshape(n, t, heads, width // heads) for a in jnp.split(qkv, 3, -1))
        y = jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(n, t, width)
        x = x + linear(p, f"{b}.attn.c_proj", y)
        y = jax.nn.gelu(linear(p, f"{b}.mlp.c_fc", layer_norm(p, f"{b}.ln_2", x)), approximate=False)
        x = x + linear(p, f"{b}.mlp.c_proj", y)
    return (layer_norm(p, "ln_f", x) @ p["wte.weight"].T).reshape(n * t, -1), s


def gcn(p: Params, s: Params, x: Any, source: Any, target: Any, norm: Any, labelled: Any) -> Any:
    def convolution(name: str, x: Any) -> Any:
        messages = (x @ p[f"{name}.linear.weight"].T)[source] * norm
        return jax.ops.segment_sum(messages, target, x.shape[0]) + p[f"{name}.bias"]

    return convolution("conv2", jax.nn.relu(convolution("conv1", x)))[labelled], s


NETS: dict[str, Callable[..., Any]] = {
    "tiny": partial(sequence, activation=jnp.tanh), "mlp": partial(sequence, activation=jax.nn.relu),
    "resnet20": resnet20, "resnet34": resnet34, "vgg19": vgg19, "alexnet": alexnet,
    "lstm": lstm, "nanogpt": partial(gpt, 4), "gpt2": partial(gpt, 12), "gcn": gcn,
}  # fmt: skip


def cross_entropy(logits: Any, target: Any) -> Any:
    chosen = jnp.take_along_axis(logits, target[:, None], 1)[:, 0]
    return (jax.nn.logsumexp(logits, 1) - chosen).mean()


def adam(p: Params, g: Params, m: Params, v: Params, t: Any, rate: float) -> tuple[Params, Params, Params]:
    """Kingma and Ba 2015, as torch.optim.Adam rounds it."""
    tree = jax.tree.map
    m = tree(lambda m, g: 0.9 * m + 0.1 * g, m, g)
    v = tree(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
    # In float32, 1 - 0.999**t would lose four digits at the first steps; torch computes it in double.
    size, root = -rate / jnp.expm1(t * math.log(0.9)), jnp.sqrt(-jnp.expm1(t * math.log(0.999)))
    return tree(lambda p, m, v: p - size * m / (jnp.sqrt(v) / root + 1e-8), p, m, v), m, v


def split(weights: Any) -> tuple[Params, Params]:
    """Parameters and running statistics."""
    params, stats = {}, {}
    for name, a in weights.items():
        if "running" in name:
            stats[name] = jnp.asarray(a)
        elif "num_batches" not in name:
            params[name] = jnp.asarray(a.transpose(2, 3, 1, 0) if a.ndim == 4 else a)
    return params, stats


def step(task: Any, weights: Any) -> Callable[[], Any]:
    """A jitted step with donated state; each call trains once and returns the loss."""
    net = NETS[task.name]
    *inputs, target = task.data()
    inputs = [jnp.asarray(a.transpose(0, 2, 3, 1) if a.ndim == 4 else a) for a in inputs]
    target = jnp.asarray(target)

    def loss(p: Params, s: Params, *inputs: Any, target: Any) -> Any:
        out, new = net(p, s, *inputs)
        return (((out - target) ** 2).mean() if task.regression else cross_entropy(out, target)), new

    @partial(jax.jit, donate_argnums=(0,))
    def update(state: Any, target: Any, *inputs: Any) -> Any:
        p, s, m, v, t = state
        (value, s), g = jax.value_and_grad(loss, has_aux=True)(p, s, *inputs, target=target)
        t = t + 1
        p, m, v = adam(p, g, m, v, t, task.rate)
        return (p, s, m, v, t), value

    p, s = split(weights)
    state = [(p, s, jax.tree.map(jnp.zeros_like, p), jax.tree.map(jnp.zeros_like, p), jnp.zeros(()))]

    def call() -> Any:
        state[0], value = update(state[0], target, *inputs)
        return value

    return call
