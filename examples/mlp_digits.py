"""Two hidden layers on scanned digits, with mixup and an average of the weights.

    python examples/mlp_digits.py [--smoke]

Data: scikit-learn's 1797 digits of 8 by 8 pixels, 360 on which rate and epochs were chosen, 360 to test.
Should reach 97 % of the test digits.
"""

import sys

from sklearn.datasets import load_digits

import wengert as wg
import wengert.nn.functional as F
from wengert import nn, optim
from wengert.models import MLP


def accuracy(model, x, y):
    model.eval()
    with wg.no_grad():
        right = (model(x).argmax(1) == y).float().mean().item()
    model.train()
    return right


def main(smoke=False):
    wg.manual_seed(0)
    digits = load_digits()
    x, y = wg.tensor(digits.images / 16, dtype=wg.float32), wg.tensor(digits.target)
    train, valid, test = wg.randperm(len(x)).split([1077, 360, 360])
    model = MLP([64, 128, 64, 10])
    average = nn.ExponentialMovingAverage(model, 0.98, warmup=True)
    optimizer = optim.AdamW(model.parameters(), lr=4e-3)
    for epoch in range(1 if smoke else 80):
        for batch in train[wg.randperm(len(train))].split(64):
            inputs, targets = nn.mixup(x[batch], y[batch], alpha=0.2, num_classes=10)
            loss = F.cross_entropy(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            average.update()
        if epoch % 20 == 19:
            with average.applied():
                seen = accuracy(model, x[valid], y[valid])
            print(f"epoch {epoch + 1}: loss {loss.item():.3f}, validation accuracy {100 * seen:.1f} %")

    with average.applied():
        reached = accuracy(model, x[test], y[test])
    print(f"test accuracy {100 * reached:.1f} % (wanted 97 %)")
    return smoke or reached >= 0.97


if __name__ == "__main__":
    sys.exit(not main("--smoke" in sys.argv))
