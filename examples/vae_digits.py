"""A variational autoencoder of digits: encodes to two numbers, decodes them, and draws new digits.

    python examples/vae_digits.py [--smoke]

Kingma and Welling 2014. Data: scikit-learn's digits, 360 to watch the training by, 360 to test. Should reach a bound of
25.5 nats a test digit (a code without information, the mean image alone, costs 27.2), and prints three digits that it
made up.
"""

import sys

from sklearn.datasets import load_digits

import wengert as wg
import wengert.nn.functional as F
from wengert import optim
from wengert.models import VAE


def bound(model, x):
    """The mean of 20 draws of the code."""
    with wg.no_grad():
        return sum(model.bound(x).item() for _ in range(20)) / 20


def main(smoke=False):
    wg.manual_seed(0)
    x = wg.tensor(load_digits().data / 16, dtype=wg.float32)
    train, valid, test = wg.randperm(len(x)).split([1077, 360, 360])
    mean = x[train].mean(0).clamp(1e-3, 1 - 1e-3).expand(360, 64)
    print(f"mean image: {F.binary_cross_entropy(mean, x[test], reduction='none').sum(1).mean().item():.2f} nats")

    model = VAE([64, 128, 2])
    optimizer = optim.Adam(model.parameters(), lr=2e-3)
    for epoch in range(1 if smoke else 150):
        for batch in train[wg.randperm(len(train))].split(64):
            loss = model.bound(x[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if epoch % 30 == 29:
            print(f"epoch {epoch + 1:3d}: {loss.item():.2f} nats, validation {bound(model, x[valid]):.2f}")

    with wg.no_grad():
        made = model.sample(3).reshape(3, 8, 8)
    for rows in made.permute(1, 0, 2).tolist():
        print("   ".join("".join(" .:+#"[min(int(5 * v), 4)] * 2 for v in row) for row in rows))
    reached = bound(model, x[test])
    print(f"test bound {reached:.2f} nats (wanted 25.5)")
    return smoke or reached <= 25.5


if __name__ == "__main__":
    sys.exit(not main("--smoke" in sys.argv))
