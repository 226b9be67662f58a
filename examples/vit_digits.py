"""A vision transformer that sees scanned digits as sixteen patches.

    python examples/vit_digits.py [--smoke]

Dosovitskiy et al. 2021, with two convolutions before the patches (Xiao et al., "Early convolutions help transformers
see better", 2021). Data: scikit-learn's digits of 8 by 8 pixels. Features that are learnt must be worth more than the
pixels: it should get fewer of the 360 test digits wrong than softmax regression on the same digits. 360 others chose
width, rate and mixing, and choose the epoch.
"""

import sys

from sklearn.datasets import load_digits

import wengert as wg
import wengert.nn.functional as F
from wengert import nn, optim
from wengert.models import VisionTransformer


def enlarged(images, shake=0.0):
    """The images as (N, 1, 8, 8), turned, enlarged and moved by random amounts of this size."""
    n = len(images)
    angle, scale, move = shake * wg.randn(n), 1 + shake * wg.randn(n), shake * wg.randn(n, 2, 1)
    rows = wg.stack([wg.stack([angle.cos(), -angle.sin()], 1), wg.stack([angle.sin(), angle.cos()], 1)], 1)
    grid = F.affine_grid(wg.cat([rows * scale.reshape(-1, 1, 1), move], 2), (n, 1, 8, 8), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def stem(*channels):
    """Convolutions before the patches."""
    layers = []
    for before, after in zip((1, *channels), channels):
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


def errors(net, x, y):
    net.eval()
    with wg.no_grad():
        return int((wg.cat([net(enlarged(part)) for part in x.split(120)]).argmax(1) != y).sum())


def fit(net, train, valid, epochs):
    """Train on shaken and mixed images; the net gets the averaged weights that are best on the validation digits."""
    (x, y), best, kept = train, len(valid[1]) + 1, {}
    average = nn.ExponentialMovingAverage(net, 0.995, warmup=True)
    optimizer = optim.AdamW(net.parameters(), lr=0.004, weight_decay=0.05)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, 0.004, epochs=epochs, steps_per_epoch=-(-len(x) // 64))
    for epoch in range(epochs):
        net.train()
        for batch in wg.randperm(len(x)).split(64):
            images, targets = nn.mixup(enlarged(x[batch], 0.07), y[batch], 0.2, 10)
            loss = F.cross_entropy(net(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            average.update()
        if epoch % 5 == 4 or epochs == 1:
            with average.applied():
                wrong = errors(net, *valid)
                if wrong <= best:
                    best, kept = wrong, {name: v.clone() for name, v in net.state_dict().items()}
            print(f"epoch {epoch + 1:2d}: loss {loss.item():.3f}, {wrong} of {len(valid[1])} validation digits wrong")
    net.load_state_dict(kept)


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
    net = nn.Sequential(stem(16, 32), VisionTransformer(8, 2, 2, 4, 64, 128, num_classes=10, in_channels=32))
    print(f"{sum(p.numel() for p in net.parameters())} weights")
    fit(net, train, valid, 1 if smoke else 25)
    wrong = errors(net, *test)
    print(f"{wrong} of {len(test[1])} test digits wrong (wanted fewer than softmax regression's {linear})")
    return smoke or wrong < linear


if __name__ == "__main__":
    sys.exit(not main("--smoke" in sys.argv))
