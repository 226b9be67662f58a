"""A neural comparator learns to sort: it is only ever told which of two items comes later.

    python examples/comparator_sort.py [--smoke]

Data, generated from real scans: pairs of scikit-learn's digits; the later one shows the larger number. Then lists of
ten unseen images, one of each digit, are sorted. Should put 97 % of their pairs in the right order.
"""

import sys

from sklearn.datasets import load_digits

import wengert as wg
from wengert import nn, optim


def main(smoke=False):
    wg.manual_seed(0)
    digits = load_digits()
    x, y = wg.tensor(digits.data / 16, dtype=wg.float32), wg.tensor(digits.target)
    train, test = wg.randperm(len(x)).split([1437, 360])

    encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 16))
    order = nn.Comparator(encoder, 16, hidden=32)
    optimizer = optim.Adam(order.parameters(), lr=2e-3)
    for step in range(20 if smoke else 3000):
        a, b = train[wg.randint(0, len(train), (2, 128))]
        after = ((y[a] > y[b]).float() + (y[a] >= y[b]).float()) / 2  # 1, 0, or a half for a tie
        loss = order.loss(x[a], x[b], after)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 500 == 0:
            print(f"step {step:4d}: loss {loss.item():.3f}")

    right, lists = 0, 100
    for _ in range(lists):
        shuffled = test[wg.randperm(len(test))]
        images = wg.stack([shuffled[(y[shuffled] == d).nonzero()[0, 0]] for d in wg.randperm(10).tolist()])
        found = y[images][order.argsort(x[images])]
        right += (found.unsqueeze(1) < found).triu(1).sum().item()
    share = right / (45 * lists)
    print(f"last list {found.tolist()}")
    print(f"{100 * share:.1f} % of the pairs in the right order (wanted 97 %)")
    return smoke or share >= 0.97


if __name__ == "__main__":
    sys.exit(not main("--smoke" in sys.argv))
