"""An autoencoder squeezes digits through eight numbers, and gives them back better than principal components do.

    python examples/autoencoder_digits.py [--smoke]

Hinton and Salakhutdinov 2006. Data: scikit-learn's digits, 360 to choose the epoch, 360 to test. Eight principal
components are the best that linear maps can do. A net with a hidden layer on either side is not linear: its squared
error on the test digits should be lower than theirs.
"""

import sys

from sklearn.datasets import load_digits

import wengert as wg
import wengert.nn.functional as F
from wengert import optim
from wengert.models import Autoencoder

CODE = 8


def main(smoke=False):
    wg.manual_seed(0)
    x = wg.tensor(load_digits().data / 16, dtype=wg.float32)
    train, valid, test = x[wg.randperm(len(x))].split([1077, 360, 360])
    mean = train.mean(0)
    axes = wg.linalg.svd(train - mean, full_matrices=False)[2][:CODE]
    linear = F.mse_loss((test - mean) @ axes.T @ axes + mean, test).item()

    net = Autoencoder([64, 256, CODE])
    epochs = 1 if smoke else 120
    optimizer = optim.AdamW(net.parameters(), lr=2e-3)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, epochs=epochs, steps_per_epoch=17)
    best, kept = float("inf"), {}
    for epoch in range(epochs):
        for batch in wg.randperm(len(train)).split(64):
            loss = F.mse_loss(net(train[batch]), train[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        with wg.no_grad():
            error = F.mse_loss(net(valid), valid).item()
        if error < best:
            best, kept = error, {name: p.clone() for name, p in net.state_dict().items()}
        if epoch % 20 == 19:
            print(f"epoch {epoch + 1:3d}: training error {loss.item():.4f}, validation error {error:.4f}")
    net.load_state_dict(kept)
    with wg.no_grad():
        back = net(test)
    for pair in zip(test[:3].reshape(3, 8, 8).tolist(), back[:3].reshape(3, 8, 8).tolist()):
        for rows in zip(*pair):
            print("   ".join("".join(" .:+#"[min(max(int(5 * v), 0), 4)] * 2 for v in row) for row in rows))
    reached = F.mse_loss(back, test).item()
    print(f"squared error {reached:.4f} a pixel (wanted less than {linear:.4f}, by {CODE} principal components)")
    return smoke or reached < linear


if __name__ == "__main__":
    sys.exit(not main("--smoke" in sys.argv))
