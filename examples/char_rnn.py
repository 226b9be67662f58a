"""Elman's network, an LSTM and a GRU learn to write like Python's manual, letter by letter.

    python examples/char_rnn.py [--smoke]

Elman 1990, Hochreiter and Schmidhuber 1997, Cho et al. 2014. Data: the texts of `help()` topics in the standard
library; a tenth to choose the rate, a tenth to test. A network that remembers must be worth more than counts of what
follows two letters: each should need fewer nats a letter for the test text than the trigram counts of the training
text, mixed with those of pairs and single letters (Witten and Bell 1991).
"""

import sys

import numpy as np

import wengert as wg
from wengert import data, optim
from wengert.models import RNNLanguageModel

LENGTH, BATCH = 64, 32


def trigram_cost(train, test, size):
    """Nats a letter: the share of each longer context grows with its count, and falls with its kinds of followers."""
    p = np.full((1, size), 1 / size)
    for order in (0, 1, 2):
        counts = np.zeros((size**order, size))
        context = sum(train[k : len(train) - order + k] * size ** (order - 1 - k) for k in range(order))
        np.add.at(counts, (context, train[order:]), 1.0)
        total, kinds = counts.sum(1, keepdims=True), (counts > 0).sum(1, keepdims=True)
        shorter = np.tile(p, (len(counts) // len(p), 1))  # the context without its first letter
        p = (counts + kinds * shorter) / np.maximum(total + kinds, 1) + (total == 0) * shorter
    return -np.log(p[test[:-2] * size + test[1:-1], test[2:]]).mean()


def cost(net, tokens):
    """Mean nats a letter over the text, read in pieces of 200 letters that start anew."""
    pieces = tokens[: len(tokens) // 200 * 200].reshape(-1, 200)
    net.eval()
    with wg.no_grad():
        return net.loss(pieces).item()


def fit(kind, size, tokens, rate, steps):
    wg.manual_seed(0)
    net = RNNLanguageModel(size, 32, 160, kind)
    optimizer = optim.Adam(net.parameters(), lr=rate)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, rate / 20)
    for _ in range(steps):
        starts = wg.randint(0, len(tokens) - LENGTH, (BATCH, 1))
        loss = net.loss(tokens[starts + wg.arange(LENGTH + 1)])
        optimizer.zero_grad()
        loss.backward()
        wg.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return net


def main(smoke=False):
    text = data.read_topics()
    letters = sorted(set(text))
    tokens = wg.tensor([letters.index(c) for c in text])
    tenth = len(tokens) // 10
    train, valid, test = tokens.split([len(tokens) - 2 * tenth, tenth, tenth])
    if smoke:
        train, valid, test = train[:20000], valid[:1000], test[:1000]
    counts = trigram_cost(train.numpy(), test.numpy(), len(letters))
    print(f"{len(tokens)} letters, {len(letters)} kinds; trigram counts {counts:.3f} nats a letter")

    reached = {}
    for kind in ("rnn", "lstm", "gru"):
        found = []
        for rate in (0.005,) if smoke else (0.003, 0.01):
            net = fit(kind, len(letters), train, rate, 3 if smoke else 400)
            found.append((cost(net, valid), rate, net))
        _, rate, net = min(found, key=lambda f: f[0])
        reached[kind] = cost(net, test)
        print(f"{kind} (rate {rate}): {reached[kind]:.3f} nats a letter. It writes:")
        start = wg.tensor([[letters.index(c) for c in "The "]])
        written = net.generate(start, 20 if smoke else 150, temperature=0.7)[0]
        print("    " + "".join(letters[i] for i in written.tolist()).replace("\n", "\n    "))
    found = ", ".join(f"{kind} {value:.3f}" for kind, value in reached.items())
    print(f"{found} nats a letter (wanted less than {counts:.3f})")
    return smoke or max(reached.values()) < counts


if __name__ == "__main__":
    sys.exit(not main("--smoke" in sys.argv))
