"""ADALINE: one linear neuron that learns by the delta rule, written out beside its derivative.

    python examples/adaline.py [--smoke]

Widrow and Hoff 1960. Data: two of the three species of scikit-learn's iris flowers, standardised; 50 flowers to train,
25 to choose the rate, 25 to test. The rule walks towards the exact least-squares neuron: with the rate that suits the
validation flowers best it should come as near as 10 % of that neuron's length, and name no test flower less right.
"""

import sys

from sklearn.datasets import load_iris

import wengert as wg


def delta_rule(x, y, rate, epochs):
    """The weights, the last of which belongs to the constant input."""
    w = wg.zeros(x.shape[1], requires_grad=True)
    for _ in range(epochs):
        for i in wg.randperm(len(x)).tolist():
            error = y[i] - x[i] @ w
            (error**2 / 2).backward()
            # The delta rule is the derivative: minus the error times the input.
            assert wg.allclose(w.grad, -error.detach() * x[i], atol=1e-5)
            with wg.no_grad():
                w -= rate * w.grad
            w.grad = None
    return w.detach()


def main(smoke=False):
    wg.manual_seed(0)
    iris = load_iris()
    chosen = iris.target > 0  # versicolor and virginica, which overlap
    x = wg.tensor(iris.data[chosen], dtype=wg.float32)
    y = wg.tensor(2.0 * (iris.target[chosen] == 2) - 1).float()
    train, valid, test = wg.randperm(len(x)).split([50, 25, 25])
    x = (x - x[train].mean(0)) / x[train].std(0)
    x = wg.cat([x, wg.ones(len(x), 1)], 1)

    found = []
    for rate in (0.01,) if smoke else (0.03, 0.01, 0.003):
        w = delta_rule(x[train], y[train], rate, 1 if smoke else 80)
        found.append((((x[valid] @ w - y[valid]) ** 2).mean().item(), rate, w))
        print(f"rate {rate}: validation error {found[-1][0]:.4f}")
    _, rate, w = min(found, key=lambda f: f[0])

    exact = wg.linalg.lstsq(x[train], y[train].unsqueeze(1)).solution.flatten()
    distance = ((w - exact).norm() / exact.norm()).item()
    right = [int((y[test] * (x[test] @ v) > 0).sum()) for v in (w, exact)]
    print(f"rate {rate}: {right[0]} of {len(test)} test flowers right, by least squares {right[1]} (wanted as many)")
    print(f"distance to least squares {distance:.3f} of its length (wanted 0.1)")
    return smoke or (distance <= 0.1 and right[0] >= right[1])


if __name__ == "__main__":
    sys.exit(not main("--smoke" in sys.argv))
