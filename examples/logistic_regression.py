"""Logistic regression by Newton's method (exact Hessian) and by gradient descent; they meet.

    python examples/logistic_regression.py [--smoke]

Data: scikit-learn's breast cancer set, 30 measurements of 569 tumours. The penalty λ |w|² is chosen on validation
tumours. The loss is convex, so all ways must end at the same weights: those of Newton, of descent and of
scikit-learn's solver should agree to 1 % of their length. Newton's convergence is quadratic: ten steps should bring
the gradient below 1e-10.
"""

import sys

from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

import wengert as wg
import wengert.nn.functional as F
from wengert import optim


def objective(x, y, penalty):
    """Mean cross-entropy, and a penalty of all weights but the last, which belongs to the constant input."""
    return lambda w: F.binary_cross_entropy_with_logits(x @ w, y) + penalty * (w[:-1] ** 2).sum()


def newton(loss, steps=10):
    w = wg.zeros(31, dtype=wg.float64)
    for _ in range(steps):
        w = w - wg.linalg.solve(wg.func.hessian(loss)(w), wg.func.grad(loss)(w))
    return w


def descent(loss, steps):
    w = wg.zeros(31, dtype=wg.float64, requires_grad=True)
    optimizer = optim.SGD([w], lr=0.5, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(w).backward()
        optimizer.step()
    return w.detach()


def main(smoke=False):
    wg.manual_seed(0)
    data = load_breast_cancer()
    x = wg.tensor(data.data, dtype=wg.float64)
    y = wg.tensor(data.target, dtype=wg.float64)
    train, valid, test = wg.randperm(len(x)).split([341, 114, 114])
    x = (x - x[train].mean(0)) / x[train].std(0)
    x = wg.cat([x, wg.ones(len(x), 1, dtype=wg.float64)], 1)

    found = []
    for penalty in (1e-2,) if smoke else (1e-1, 1e-2, 1e-3):
        w = newton(objective(x[train], y[train], penalty))
        found.append((F.binary_cross_entropy_with_logits(x[valid] @ w, y[valid]).item(), penalty, w))
        print(f"λ = {penalty:.0e}: validation loss {found[-1][0]:.4f}")
    _, penalty, w = min(found, key=lambda f: f[0])

    loss = objective(x[train], y[train], penalty)
    gradient = wg.func.grad(loss)(w).norm().item()
    other = LogisticRegression(C=1 / (2 * penalty * len(train)), tol=1e-8, max_iter=1000)
    other.fit(x[train, :-1].numpy(), y[train].numpy())
    peer = wg.tensor([*other.coef_[0], *other.intercept_], dtype=wg.float64)
    apart = max((w - v).norm().item() for v in (descent(loss, 5 if smoke else 1000), peer)) / w.norm().item()
    accuracy = ((x[test] @ w > 0) == (y[test] > 0.5)).float().mean().item()
    print(f"λ = {penalty:.0e}: test accuracy {100 * accuracy:.1f} %, scikit-learn's "
          f"{100 * other.score(x[test, :-1].numpy(), y[test].numpy()):.1f} %")  # fmt: skip
    print(f"Newton's gradient {gradient:.1e} (wanted 1e-10), the three apart by {apart:.1e} (wanted 1e-2)")
    return smoke or (gradient <= 1e-10 and apart <= 1e-2)


if __name__ == "__main__":
    sys.exit(not main("--smoke" in sys.argv))
