"""Linear support vector machine: hinge loss and λ |w|², with λ chosen on a validation set.

    python examples/svm.py [--smoke]

Data: scikit-learn's digits, ten classes at once by the multi-class hinge (Weston and Watkins 1999).
Should reach 94 % on the test digits, which neither training nor the choice of λ has seen.
"""

import sys

from sklearn.datasets import load_digits

import wengert as wg
import wengert.nn.functional as F
from wengert import nn, optim


def accuracy(model, x, y):
    with wg.no_grad():
        return (model(x).argmax(1) == y).float().mean().item()


def fit(x, y, penalty, epochs):
    model = nn.Linear(64, 10)
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(epochs):
        for batch in wg.randperm(len(x)).split(64):
            loss = F.multi_margin_loss(model(x[batch]), y[batch]) + penalty * (model.weight**2).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model


def main(smoke=False):
    wg.manual_seed(0)
    digits = load_digits()
    x, y = wg.tensor(digits.data / 16, dtype=wg.float32), wg.tensor(digits.target)
    train, valid, test = wg.randperm(len(x)).split([1100, 347, 350])

    found = []
    for penalty in (0.1,) if smoke else (1e-1, 1e-2, 1e-3, 1e-4, 1e-5):
        model = fit(x[train], y[train], penalty, 1 if smoke else 30)
        found.append((accuracy(model, x[valid], y[valid]), penalty, model))
        print(f"λ = {penalty:.0e}: validation accuracy {100 * found[-1][0]:.1f} %")
    _, penalty, model = max(found, key=lambda f: f[0])
    reached = accuracy(model, x[test], y[test])
    print(f"λ = {penalty:.0e}: test accuracy {100 * reached:.1f} % (wanted 94 %)")
    return smoke or reached >= 0.94


if __name__ == "__main__":
    sys.exit(not main("--smoke" in sys.argv))
