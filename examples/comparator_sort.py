"""A neural comparator learns to sort: it is only ever told which of two items comes later.

    python examples/comparator_sort.py [--smoke]

Rigutini et al. 2011. Data, from real scans: pairs of scikit-learn's digits; the later one shows the larger number. Then
lists of ten unseen images, one of each digit, are sorted. What a comparator learns by its two layers of encoding must
be worth more than pixels are: it should leave at most half as many pairs in the wrong order as a linear one (logistic
regression on differences, Herbrich et al. 2000). A classifier, which is told every number, is shown beside them, for
more cannot be wanted. 360 digits choose the settings, 360 others are the test.
"""

import sys

from sklearn.datasets import load_digits

import wengert as wg
import wengert.nn.functional as F
from wengert import nn, optim


def train_steps(net, loss, steps):
    optimizer = optim.AdamW(net.parameters(), lr=2e-3)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        value = loss()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
    net.eval()


def encoder(dropout):
    return nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Dropout(dropout), nn.Linear(256, 32), nn.Tanh())


def comparator(order, x, y, steps):
    """A function that orders images, taught with pairs."""

    def loss():
        a, b = wg.randint(0, len(x), (2, 128))
        after = ((y[a] > y[b]).float() + (y[a] >= y[b]).float()) / 2  # 1, 0, or a half for a tie
        return order.loss(x[a], x[b], after)

    train_steps(order, loss, steps)
    return order.argsort


def classifier(net, x, y, steps):
    """A function that orders images by the number that it expects, taught with labels."""

    def loss():
        batch = wg.randint(0, len(x), (128,))
        return F.cross_entropy(net(x[batch]), y[batch])

    train_steps(net, loss, steps)
    return lambda images: (net(images).softmax(1) @ wg.arange(10.0)).argsort()


MAKERS = {
    "linear": lambda p: (comparator, nn.Comparator(nn.Identity(), 64, hidden=0)),
    "neural": lambda p: (comparator, nn.Comparator(encoder(p), 32, hidden=64)),
    "classifier": lambda p: (classifier, nn.Sequential(encoder(p), nn.Linear(32, 10))),
}


def wrong_pairs(sort, x, y, lists):
    """The share of pairs in the wrong order, in lists of ten images, one of each digit."""
    wg.manual_seed(1)
    wrong = 0
    for _ in range(lists):
        shuffled = wg.randperm(len(y))
        images = wg.stack([shuffled[(y[shuffled] == d).nonzero()[0, 0]] for d in wg.randperm(10).tolist()])
        order = y[images][sort(x[images])]
        wrong += int((order.unsqueeze(1) > order).triu(1).sum())
    return wrong / (45 * lists)


def main(smoke=False):
    digits = load_digits()
    wg.manual_seed(0)
    x, y = wg.tensor(digits.data / 16, dtype=wg.float32), wg.tensor(digits.target)
    train, valid, test = wg.randperm(len(x)).split([1077, 360, 360])
    lists, steps = (2, 20) if smoke else (200, 2500)
    wrong = {}
    for name, make in MAKERS.items():
        found = []
        for dropout in (0.0,) if smoke or name == "linear" else (0.0, 0.3):
            wg.manual_seed(0)
            teach, net = make(dropout)
            sort = teach(net, x[train], y[train], steps)
            found.append((wrong_pairs(sort, x[valid], y[valid], lists), dropout, sort))
        _, dropout, sort = min(found, key=lambda f: f[0])
        wrong[name] = wrong_pairs(sort, x[test], y[test], lists)
        print(f"{name:10} (dropout {dropout}): {100 * wrong[name]:.2f} % of the pairs in the wrong order")
    wanted = wrong["linear"] / 2
    print(f"{100 * wrong['neural']:.2f} % of the pairs in the wrong order (wanted {100 * wanted:.2f} %)")
    return smoke or wrong["neural"] <= wanted


if __name__ == "__main__":
    sys.exit(not main("--smoke" in sys.argv))
