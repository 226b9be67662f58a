"""Random programs of views, writes and uses: values, gradients and requires_grad are torch's.

Where torch refuses the backward (it counts versions), the values must agree and the gradient must be the
difference quotient of the program.
"""

import random

import numpy as np
import pytest

import wengert as wg

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:The use of `x.T`", "ignore:The .grad attribute")

VIEWS = (
    "{v}[0]", "{v}[1:]", "{v}[..., ::2]", "{v}.T", "{v}.reshape(-1)", "{v}.unsqueeze(0)", "{v}.diagonal()",
    "{v}.narrow(0, 0, 1)", "{v}.detach()", "{v}.view(-1)", "{v}.squeeze()", "{v}.transpose(0, -1)", "{v}[None]",
    "{v}.flatten()", "{v}[-1:]", "{v}.unfold(-1, 1, 1)",
)  # fmt: skip
WRITES = (
    "{v}.mul_(2)", "{v}.add_(0.5)", "{v}[0] = 3.0", "{v}[...] = {v} * 0.5", "{v}[{v} > 0] = 0.5",
    "{v}.copy_({v}.sin())", "{v}.masked_fill_({v} > 1, 0.25)", "{v}[-1] = {v}[0]", "{v} += 1", "{v}.mul_(0)",
    "{v}.zero_()", "{v}.fill_(0.5)",    "{v}[[0]] = {v}[[-1]] * 2", "{v}.index_add_(0, i, {v}[:1])",
)  # fmt: skip
TRACKED_WRITES = ("{v}.add_(s)", "{v}.mul_(s)", "{v}[1:] *= s")
USES = (
    "acc = acc + ({v} * {v}).sum()", "acc = acc + {v}.sin().sum()", "acc = acc + ({v} * s).sum()", "k{n} = {v}.exp()",
    "k{n} = {v} * s",
)  # fmt: skip
START = np.random.default_rng(0).standard_normal((2, 2))


class Program:
    """Lines about the tensors ``a``, ``s`` and what is made of them."""

    def __init__(self, seed):
        rng = random.Random(seed)
        self.tracked = rng.random() < 0.6
        self.lines = ["leaf = a", "a = a * 1.0"] if self.tracked and rng.random() < 0.8 else ["leaf = a"]
        names = ["a"]
        detached = False
        for n in range(rng.randint(3, 9)):
            v, kind = rng.choice(names), rng.random()
            if kind < 0.4:
                view = rng.choice(VIEWS)
                detached |= "detach" in view
                self.lines.append(f"v{n} = {view}".format(v=v))
                names.append(f"v{n}")
            elif kind < 0.8:
                # What torch does when a detached tensor gets a history of its own is another test's.
                line = rng.choice(WRITES if detached else WRITES + TRACKED_WRITES).format(v=v)
                self.lines.append(f"with T.no_grad(): {line}" if rng.random() < 0.15 else line)
            else:
                use = rng.choice(USES).format(v=v, n=n)
                self.lines.append(use)
                if use.startswith("k"):
                    names.append(f"k{n}")

    def run(self, lib, a, s):
        """Everything the program made, and the loss."""
        env = {"T": lib, "a": lib.tensor(a), "s": lib.tensor(s).requires_grad_(), "i": lib.tensor([0])}
        if self.tracked:
            env["a"].requires_grad_()
        env["acc"] = env["s"] * 0.0
        for line in self.lines:
            exec(line, env)
        made = {k: v for k, v in env.items() if k[0] in "akv" and hasattr(v, "detach") and k != "acc"}
        loss = env["acc"]
        for name in sorted(made):
            loss = loss + (made[name] * made[name].cos()).sum()
        return made, loss, env["leaf"], env["s"]


def number(t):
    return 0.0 if t is None else t.detach().numpy()


def quotient(program, a, s, h=1e-6):
    """d loss / d s and d loss / d a, by differences; None at a kink."""

    def loss(a, s):
        return float(program.run(wg, a, s)[1].detach())

    near, wide = ((loss(a, s + k * h) - loss(a, s - k * h)) / (2 * k * h) for k in (1, 2))
    if abs(near - wide) > 1e-4 * (1 + abs(near)):
        return None
    grad = np.zeros_like(a)
    for i in np.ndindex(a.shape):
        e = np.zeros_like(a)
        e[i] = h
        grad[i] = (loss(a + e, s) - loss(a - e, s)) / (2 * h)
    return near, grad


def check(seed):
    program = Program(seed)
    text = f"program {seed}: {'; '.join(program.lines)}"
    try:
        theirs = program.run(torch, START, 1.5)
    except (RuntimeError, IndexError):
        return  # torch refuses the write itself, or an index is out of range
    ours = program.run(wg, START, 1.5)
    for name, t in theirs[0].items():
        np.testing.assert_allclose(ours[0][name].detach().numpy(), t.detach().numpy(), 1e-12, 1e-12, err_msg=text)
        assert ours[0][name].requires_grad == t.requires_grad, (text, name)
    ours[1].backward()
    try:
        theirs[1].backward()
    except RuntimeError:
        if "no_grad" in text or "detach" in text:
            return
        want = quotient(program, START, 1.5)
        if want is not None:
            np.testing.assert_allclose(number(ours[3].grad), want[0], 1e-4, 1e-4, err_msg=text)
            if program.tracked:
                np.testing.assert_allclose(number(ours[2].grad) + 0 * START, want[1], 1e-4, 1e-4, err_msg=text)
        return
    for o, t in zip(ours[2 if program.tracked else 3 :], theirs[2 if program.tracked else 3 :], strict=True):
        np.testing.assert_allclose(number(o.grad), number(t.grad), 1e-9, 1e-9, err_msg=text)


@pytest.mark.parametrize("block", range(20))
def test_programs(block):
    for seed in range(block * 60, block * 60 + 60):
        check(seed)
