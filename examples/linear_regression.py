"""A straight line through points by gradient descent, held against the two formulas for slope and intercept.

    python examples/linear_regression.py [--smoke]

Data: scikit-learn's diabetes set; the body mass index of 442 patients, and how their illness went on.
The loss has one minimum, which Gauss and Legendre wrote down: so descent should reach slope and intercept to 1e-4 of
their size.
"""

import sys

from sklearn.datasets import load_diabetes

import wengert as wg


def main(smoke=False):
    wg.manual_seed(0)
    data = load_diabetes(scaled=False)
    x = wg.tensor(data.data[:, data.feature_names.index("bmi")], dtype=wg.float64)
    y = wg.tensor(data.target, dtype=wg.float64)
    dx, dy = x - x.mean(), y - y.mean()
    slope = ((dx * dy).sum() / (dx * dx).sum()).item()
    exact = wg.tensor([slope, (y.mean() - slope * x.mean()).item()], dtype=wg.float64)

    # In standard units the valley is round, and each step halves the distance to its bottom.
    u = dx / x.std(unbiased=False)
    w = wg.zeros(2, dtype=wg.float64, requires_grad=True)
    for step in range(2 if smoke else 30):
        loss = ((w[0] * u + w[1] - y) ** 2).mean()
        loss.backward()
        with wg.no_grad():
            w -= 0.25 * w.grad
        w.grad = None
        if step % 5 == 0:
            print(f"step {step:2d}: mean squared error {loss.item():.1f}")

    a = w[0].item() / x.std(unbiased=False).item()
    found = wg.tensor([a, w[1].item() - a * x.mean().item()], dtype=wg.float64)
    distance = ((found - exact).abs() / exact.abs()).max().item()
    r2 = 1 - ((found[0] * x + found[1] - y) ** 2).sum().item() / (dy * dy).sum().item()
    print(
        f"progress = {found[0].item():.3f} bmi {found[1].item():+.3f}, which explains {100 * r2:.1f} % of its variance"
    )
    print(f"distance to the formulas {distance:.1e} of their size (wanted 1e-4)")
    return smoke or distance <= 1e-4


if __name__ == "__main__":
    sys.exit(not main("--smoke" in sys.argv))
