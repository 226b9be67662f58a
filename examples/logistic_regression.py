"""Logistic regression by Newton's method (exact Hessian) and by gradient descent; they meet.

    python examples/logistic_regression.py [--smoke]

Data: scikit-learn's breast cancer set, 30 measurements of 569 tumours. Should reach 94 % on held-out tumours,
with Newton's method there in ten steps.
"""

import sys

from sklearn.datasets import load_breast_cancer

import wengert as wg
import wengert.nn.functional as F
from wengert import optim


def main(smoke=False):
    wg.manual_seed(0)
    data = load_breast_cancer()
    x = wg.tensor(data.data, dtype=wg.float64)
    y = wg.tensor(data.target, dtype=wg.float64)
    x = wg.cat([(x - x.mean(0)) / x.std(0), wg.ones(len(x), 1, dtype=wg.float64)], 1)
    order = wg.randperm(len(x))
    train, test = order[:400], order[400:]

    def loss(w):
        return F.binary_cross_entropy_with_logits(x[train] @ w, y[train]) + 0.01 * (w[:-1] ** 2).sum()

    newton = wg.zeros(31, dtype=wg.float64)
    for step in range(10):
        gradient, hessian = wg.func.grad(loss)(newton), wg.func.hessian(loss)(newton)
        newton = newton - wg.linalg.solve(hessian, gradient)
        print(f"Newton {step + 1:2d}: loss {loss(newton).item():.6f}, gradient {gradient.norm().item():.1e}")

    w = wg.zeros(31, dtype=wg.float64, requires_grad=True)
    optimizer = optim.SGD([w], lr=0.5, momentum=0.9)
    for _ in range(5 if smoke else 500):
        optimizer.zero_grad()
        loss(w).backward()
        optimizer.step()
    print(f"descent  : loss {loss(w).item():.6f}")

    accuracy = ((x[test] @ newton > 0) == (y[test] > 0.5)).float().mean().item()
    apart = (newton - w.detach()).norm().item()
    print(f"test accuracy {100 * accuracy:.1f} % (wanted 94 %), the two apart by {apart:.1e} (wanted 1e-2)")
    return smoke or (accuracy >= 0.94 and apart <= 1e-2)


if __name__ == "__main__":
    sys.exit(not main("--smoke" in sys.argv))
