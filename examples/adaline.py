"""ADALINE: one linear neuron that learns by the delta rule, written out beside its derivative.

    python examples/adaline.py [--smoke]

Widrow and Hoff 1960. Data: two of the three species of scikit-learn's iris flowers, standardised.
Should reach 90 % on the 34 flowers that it does not see (the two kinds overlap: three may be wrong).
"""

import sys

from sklearn.datasets import load_iris

import wengert as wg


def main(smoke=False):
    wg.manual_seed(0)
    iris = load_iris()
    chosen = iris.target > 0  # versicolor and virginica, which overlap
    x = wg.tensor(iris.data[chosen], dtype=wg.float32)
    y = wg.tensor(2.0 * (iris.target[chosen] == 2) - 1)
    x = (x - x.mean(0)) / x.std(0)
    order = wg.randperm(len(x))
    train, test = order[: 2 * len(x) // 3], order[2 * len(x) // 3 :]

    w, b, rate = wg.zeros(4, requires_grad=True), wg.zeros((), requires_grad=True), 0.01
    for epoch in range(1 if smoke else 20):
        for i in train.tolist():
            error = y[i] - (x[i] @ w + b)
            (error**2 / 2).backward()
            # The delta rule is the derivative: minus the error times the input.
            assert wg.allclose(w.grad, -error.detach() * x[i], atol=1e-5)
            with wg.no_grad():
                w -= rate * w.grad
                b -= rate * b.grad
            w.grad = b.grad = None
        wrong = (y[train] * (x[train] @ w + b) <= 0).float().mean().item()
        print(f"epoch {epoch + 1:2d}: {100 * wrong:4.1f} % of the training flowers wrong")

    accuracy = (y[test] * (x[test] @ w + b) > 0).float().mean().item()
    print(f"test accuracy {100 * accuracy:.1f} % (wanted 90 %)")
    return smoke or accuracy >= 0.9


if __name__ == "__main__":
    sys.exit(not main("--smoke" in sys.argv))
