"""Multivariate linear regression by gradient descent, held against the normal equations.

    python examples/linear_regression.py [--smoke]

Data: scikit-learn's diabetes set, ten measurements of 442 patients and how their illness went on.
Should reach the weights of the exact solution to 1 % of their length, and R² = 0.5 of its 0.52.
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
    x, y = (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()

    model = nn.Linear(10, 1, dtype=wg.float64)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loss = wg.tensor(0.0)
    for step in range(20 if smoke else 2000):
        loss = nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 400 == 0:
            print(f"step {step:4d}: loss {loss.item():.4f}")

    exact = wg.linalg.solve(x.T @ x, x.T @ y).flatten()
    distance = ((model.weight.detach().flatten() - exact).norm() / exact.norm()).item()
    r2 = 1 - loss.item() / y.var(unbiased=False).item()
    print(f"R² {r2:.3f} (wanted 0.5), distance to the normal equations {distance:.1e} (wanted 1e-2)")
    return smoke or (r2 >= 0.5 and distance <= 1e-2)


if __name__ == "__main__":
    sys.exit(not main("--smoke" in sys.argv))
