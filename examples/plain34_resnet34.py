"""What shortcuts are good for: the same 34 layers with and without them.

    python examples/plain34_resnet34.py [--smoke]

He, Zhang, Ren and Sun 2016, figure 4: a plain net so deep is harder to train than with shortcuts, on the training data
already, so that it is no overfitting. Data: scikit-learn's digits, enlarged to 32 by 32 pixels in three colours; nets
an eighth as wide. Each takes the rate that brings it furthest on the training digits in the same number of steps. The
residual net should end with the lower training loss, and get fewer of the 360 test digits wrong.
"""

import sys

from sklearn.datasets import load_digits

import wengert as wg
import wengert.nn.functional as F
from wengert import optim
from wengert.models import plain34, resnet34


def fit(make, x, y, rate, epochs):
    """The net, and the mean training loss of its last epoch."""
    wg.manual_seed(1)
    net = make(num_classes=10, width=1 / 8)
    optimizer = optim.SGD(net.parameters(), lr=rate, momentum=0.9, weight_decay=1e-4)
    losses = []
    for _ in range(epochs):
        losses = []
        for batch in wg.randperm(len(x)).split(64):
            loss = F.cross_entropy(net(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return net, sum(losses) / len(losses)


def errors(net, x, y):
    net.eval()
    with wg.no_grad():
        return int((wg.cat([net(part) for part in x.split(120)]).argmax(1) != y).sum())


def main(smoke=False):
    wg.manual_seed(0)
    digits = load_digits()
    x = F.interpolate(wg.tensor(digits.images / 16).float().unsqueeze(1), (32, 32), mode="bilinear")
    x, y = x.expand(-1, 3, -1, -1), wg.tensor(digits.target)
    sizes = [64, 32] if smoke else [1437, 360]
    train, test = wg.randperm(len(x))[: sum(sizes)].split(sizes)
    reached = {}
    for name, make in (("plain", plain34), ("residual", resnet34)):
        runs = [
            (rate, *fit(make, x[train], y[train], rate, 1 if smoke else 8))
            for rate in ((0.1,) if smoke else (0.01, 0.03, 0.1))
        ]
        for rate, _, loss in runs:
            print(f"{name}, rate {rate}: training loss {loss:.4f}")
        _, net, loss = min(runs, key=lambda run: run[2])
        reached[name] = loss, errors(net, x[test], y[test])
    (plain, plain_wrong), (loss, wrong) = reached["plain"], reached["residual"]
    print(f"training loss {loss:.4f} (wanted less than {plain:.4f}), "
          f"{wrong} of {sizes[1]} test digits wrong (wanted fewer than {plain_wrong})")  # fmt: skip
    return smoke or (loss < plain and wrong < plain_wrong)


if __name__ == "__main__":
    sys.exit(not main("--smoke" in sys.argv))
