"""Regression on ten variables by gradient descent with momentum, held against the normal equations.

    python examples/multivariate_regression.py [--smoke]

Data: scikit-learn's diabetes set, ten measurements of 442 patients and how their illness went on; a third is kept for
the test. Blood values depend on each other, so that the valley is narrow: descent with momentum should still reach the
weights of the exact solution to 1 % of their length, and so its error on unseen patients to 1 %.
"""

import sys

from sklearn.datasets import load_diabetes

import wengert as wg
from wengert import nn, optim


def main(smoke=False):
    wg.manual_seed(0)
    data = load_diabetes()
    x = wg.tensor(data.data, dtype=wg.float64)
    y = wg.tensor(data.target, dtype=wg.float64).unsqueeze(1)
    train, test = wg.randperm(len(x)).split([295, 147])
    x, y = (x - x[train].mean(0)) / x[train].std(0), (y - y[train].mean()) / y[train].std()

    model = nn.Linear(10, 1, dtype=wg.float64)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for step in range(20 if smoke else 1500):
        loss = nn.functional.mse_loss(model(x[train]), y[train])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 300 == 0:
            print(f"step {step:4d}: loss {loss.item():.4f}")

    a = wg.cat([x[train], wg.ones(len(train), 1, dtype=wg.float64)], 1)
    exact = wg.linalg.solve(a.T @ a, a.T @ y[train]).flatten()
    found = wg.cat([model.weight.detach().flatten(), model.bias.detach()])
    distance = ((found - exact).norm() / exact.norm()).item()

    def error(w):
        return ((x[test] @ w[:10] + w[10] - y[test].flatten()) ** 2).mean().item()

    ratio = error(found) / error(exact)
    print(f"test R² {1 - error(found) / y[test].var(unbiased=False).item():.3f}")
    print(
        f"distance to the normal equations {distance:.1e} (wanted 1e-2), test error {ratio:.4f} of theirs (wanted 1.01)"
    )
    return smoke or (distance <= 1e-2 and ratio <= 1.01)


if __name__ == "__main__":
    sys.exit(not main("--smoke" in sys.argv))
