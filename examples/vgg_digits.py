"""VGG-11 and VGG-19 with batch norm, an eighth as wide, on scanned digits.

    python examples/vgg_digits.py [--smoke]

Simonyan and Zisserman 2015. Data: scikit-learn's digits, enlarged from 8 by 8 to 32 by 32 pixels in three colours.
Features that are learnt must be worth more than the pixels: both should get fewer of the 360 test digits wrong than
softmax regression on the same digits. 360 others chose rate and dropout, and choose the epoch.
"""

import sys

from sklearn.datasets import load_digits

import wengert as wg
import wengert.nn.functional as F
from wengert import nn, optim
from wengert.models import VGG


def enlarged(images, shake=0.0):
    """The images as (N, 3, 32, 32), turned, enlarged and moved by random amounts of this size."""
    n = len(images)
    angle, scale, move = shake * wg.randn(n), 1 + shake * wg.randn(n), shake * wg.randn(n, 2, 1)
    rows = wg.stack([wg.stack([angle.cos(), -angle.sin()], 1), wg.stack([angle.sin(), angle.cos()], 1)], 1)
    grid = F.affine_grid(wg.cat([rows * scale.reshape(-1, 1, 1), move], 2), (n, 1, 32, 32), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False).expand(n, 3, 32, 32)


def errors(net, x, y):
    net.eval()
    with wg.no_grad():
        return int((wg.cat([net(enlarged(part)) for part in x.split(120)]).argmax(1) != y).sum())


def fit(net, train, valid, rate, epochs):
    """Train on shaken images; the net gets the weights of its best epoch, whose validation errors are returned."""
    (x, y), best, kept = train, len(valid[1]) + 1, {}
    optimizer = optim.AdamW(net.parameters(), lr=rate)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, rate, epochs=epochs, steps_per_epoch=-(-len(x) // 32))
    for epoch in range(epochs):
        net.train()
        for batch in wg.randperm(len(x)).split(32):
            loss = F.cross_entropy(net(enlarged(x[batch], 0.1)), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        wrong = errors(net, *valid)
        if wrong <= best:
            best, kept = wrong, {name: v.clone() for name, v in net.state_dict().items()}
        print(f"epoch {epoch + 1:2d}: loss {loss.item():.3f}, {wrong} of {len(valid[1])} validation digits wrong")
    net.load_state_dict(kept)
    return best


def softmax_errors(train, test):
    """Test errors of softmax regression on the pixels, to compare with."""
    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    optimizer = optim.LBFGS(linear.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(linear(train[0]), train[1]) + 1e-5 * (linear[1].weight ** 2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return int((linear(test[0]).argmax(1) != test[1]).sum())


def main(smoke=False):
    wg.manual_seed(0)
    digits = load_digits()
    x, y = wg.tensor(digits.images / 16).float().unsqueeze(1), wg.tensor(digits.target)
    sizes = [64, 32, 32] if smoke else [1077, 360, 360]
    train, valid, test = [(x[part], y[part]) for part in wg.randperm(len(x))[: sum(sizes)].split(sizes)]
    linear = softmax_errors(train, test)
    total = {}
    for depth, epochs in [(11, 1)] if smoke else [(11, 12), (19, 14)]:
        net = VGG(depth, 10, batch_norm=True, dropout=0.2, width=1 / 8)
        print(f"VGG-{depth}: {sum(p.numel() for p in net.parameters())} weights")
        fit(net, train, valid, 0.002, epochs)
        total[f"VGG-{depth}"] = errors(net, *test)
    found = ", ".join(f"{name} {wrong}" for name, wrong in total.items())
    print(f"of {len(test[1])} test digits wrong: {found} (wanted fewer than softmax regression's {linear})")
    return smoke or max(total.values()) < linear


if __name__ == "__main__":
    sys.exit(not main("--smoke" in sys.argv))
