"""Softmax regression: ten classes at once, by L-BFGS on the whole of the training data.

    python examples/softmax_regression.py [--smoke]

Data: scikit-learn's digits; the penalty λ |W|² is chosen on validation digits. The loss is convex, so the result must
be that of any other solver: the loss should be within 1e-4 of scikit-learn's, and the two should agree on 99 % of the
test digits.
"""

import sys

from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import wengert as wg
import wengert.nn.functional as F
from wengert import nn, optim


def objective(model, x, y, penalty):
    return F.cross_entropy(model(x), y) + penalty * (model.weight**2).sum()


def fit(x, y, penalty, steps):
    model = nn.Linear(64, 10, dtype=wg.float64)
    optimizer = optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = objective(model, x, y, penalty)
        loss.backward()
        return loss

    for _ in range(steps):
        optimizer.step(closure)
    return model


def main(smoke=False):
    wg.manual_seed(0)
    digits = load_digits()
    x, y = wg.tensor(digits.data / 16, dtype=wg.float64), wg.tensor(digits.target)
    train, valid, test = wg.randperm(len(x)).split([1077, 360, 360])

    found = []
    for penalty in (1e-3,) if smoke else (1e-3, 1e-4, 1e-5, 1e-6):
        model = fit(x[train], y[train], penalty, 1 if smoke else 10)
        found.append((F.cross_entropy(model(x[valid]), y[valid]).item(), penalty, model))
        print(f"λ = {penalty:.0e}: validation loss {found[-1][0]:.4f}")
    _, penalty, model = min(found, key=lambda f: f[0])

    other = LogisticRegression(C=1 / (2 * penalty * len(train)), tol=1e-2 if smoke else 1e-6, max_iter=5000)
    other.fit(x[train].numpy(), y[train].numpy())
    peer = nn.Linear(64, 10, dtype=wg.float64)
    peer.load_state_dict({"weight": wg.tensor(other.coef_), "bias": wg.tensor(other.intercept_)})
    losses = [objective(m, x[train], y[train], penalty).item() for m in (model, peer)]
    named = [m(x[test]).argmax(1) for m in (model, peer)]
    agree = (named[0] == named[1]).float().mean().item()
    accuracy = (named[0] == y[test]).float().mean().item()
    print(
        f"λ = {penalty:.0e}: test accuracy {100 * accuracy:.1f} %, loss {losses[0]:.6f}, scikit-learn's {losses[1]:.6f}"
    )
    print(f"losses apart by {abs(losses[0] - losses[1]):.1e} (wanted 1e-4), agree on {100 * agree:.1f} % (wanted 99 %)")
    return smoke or (abs(losses[0] - losses[1]) <= 1e-4 and agree >= 0.99)


if __name__ == "__main__":
    sys.exit(not main("--smoke" in sys.argv))
