"""Weight sharing: a net whose units look for the same feature everywhere, and one where each place has its own weights.

    python examples/weight_sharing.py [--smoke]

LeCun, "Generalization and network design strategies", 1989. Both nets have the same connections: windows of 3 by 3,
eight features, one linear layer on top; sharing a weight means to add its derivatives over all places. Data: 200 of
scikit-learn's digits to train, moved by up to one pixel to any side as handwriting is; rate and epoch are chosen on 400
others. With fewer weights to find from as few digits, the sharing net should make fewer errors on the 1197 test digits
than the other, summed over three starts.
"""

import sys

from sklearn.datasets import load_digits

import wengert as wg
import wengert.nn.functional as F
from wengert import nn, optim


class Net(nn.Module):
    """Windows of 3 by 3 of a 10 by 10 image, weights (places, features, window); places is 1 where they are shared."""

    def __init__(self, shared):
        super().__init__()
        self.weight = nn.Parameter(wg.randn(1 if shared else 64, 8, 9) / 3)
        self.bias = nn.Parameter(wg.zeros(1 if shared else 64, 8))
        self.output = nn.Linear(8 * 16, 10)

    def forward(self, x):
        windows = F.unfold(x, 3).mT  # (N, 64 places, 9 pixels)
        features = (windows.unsqueeze(2) * self.weight).sum(3) + self.bias
        maps = F.relu(features).mT.reshape(-1, 8, 8, 8)
        return self.output(F.max_pool2d(maps, 2).flatten(1))


def moved(images):
    """Each image moved by at most one pixel up or down, left or right, in a frame of 10 by 10."""
    framed = F.pad(images, (2, 2, 2, 2))
    rows, columns = wg.randint(0, 3, (2, len(images), 1, 1))
    rows, columns = rows + wg.arange(10).reshape(1, 10, 1), columns + wg.arange(10).reshape(1, 1, 10)
    return framed[wg.arange(len(images)).reshape(-1, 1, 1), 0, rows, columns].unsqueeze(1)


def errors(net, x, y):
    with wg.no_grad():
        return int((net(x).argmax(1) != y).sum())


def fit(shared, rate, parts, epochs, seed):
    """Validation and test errors at the best epoch."""
    wg.manual_seed(seed)
    net, best = Net(shared), (len(parts[2][1]) + 1, 0)
    optimizer = optim.Adam(net.parameters(), lr=rate)
    (x, y), valid, test = parts
    for epoch in range(epochs):
        for batch in wg.randperm(len(x)).split(50):
            loss = F.cross_entropy(net(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if epoch % 5 == 4:
            best = min(best, (errors(net, *valid), errors(net, *test)), key=lambda e: e[0])
    return best


def main(smoke=False):
    wg.manual_seed(0)
    digits = load_digits()
    x, y = moved(wg.tensor(digits.images / 16).float().unsqueeze(1)), wg.tensor(digits.target)
    parts = [(x[part], y[part]) for part in wg.randperm(len(x)).split([200, 400, 1197])]
    total = {}
    for shared in (True, False):
        found = []
        for rate in (0.01,) if smoke else (0.01, 0.03, 0.1):
            runs = [fit(shared, rate, parts, 5 if smoke else 60, seed) for seed in range(1 if smoke else 3)]
            found.append((sum(r[0] for r in runs), rate, sum(r[1] for r in runs)))
        _, rate, total[shared] = min(found)
        weights = sum(p.numel() for p in Net(shared).parameters())
        name = "shared" if shared else "own"
        print(f"{name:6} weights: {weights} of them, rate {rate}, test errors {total[shared]} in all")
    print(f"{total[True]} errors with shared weights (wanted fewer than {total[False]})")
    return smoke or total[True] < total[False]


if __name__ == "__main__":
    sys.exit(not main("--smoke" in sys.argv))
