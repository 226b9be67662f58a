"""A variational autoencoder of digits: encodes to two numbers, decodes them, and draws new digits.

    python examples/vae_digits.py [--smoke]

Kingma and Welling 2014. Data: scikit-learn's digits. Should reach a bound of 25.5 nats a digit on held-out
ones (a code without information, the mean image alone, costs 27.2), and prints three digits that it made up.
"""

import sys

from sklearn.datasets import load_digits

import wengert as wg
import wengert.nn.functional as F
from wengert import optim
from wengert.models import VAE


def main(smoke=False):
    wg.manual_seed(0)
    x = wg.tensor(load_digits().data / 16, dtype=wg.float32)
    train, test = wg.randperm(len(x)).split([1437, 360])
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
            print(f"epoch {epoch + 1:3d}: {loss.item():.2f} nats")

    with wg.no_grad():
        bound = sum(model.bound(x[test]).item() for _ in range(20)) / 20
        made = model.sample(3).reshape(3, 8, 8)
    for rows in made.permute(1, 0, 2).tolist():
        print("   ".join("".join(" .:+#"[min(int(5 * v), 4)] * 2 for v in row) for row in rows))
    print(f"held-out bound {bound:.2f} nats (wanted 25.5)")
    return smoke or bound <= 25.5


if __name__ == "__main__":
    sys.exit(not main("--smoke" in sys.argv))
