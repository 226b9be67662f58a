"""A tagger with an LSTM alone, and the same with a conditional random field on top, which beats it.

    python examples/crf_tagging.py [--smoke]

Data, generated: sentences with names of two kinds, tagged O, B-x, I-x; words are ambiguous, and a name of kind x
never follows one of kind x at once. Wanted: of 2000 new sentences the CRF tags at least two points of a hundred
more without a fault, and it makes at most a fifth as many illegal moves. Huang, Xu and Yu 2015.
"""

import sys

import numpy as np

import wengert as wg
import wengert.nn.functional as F
from wengert import nn, optim

TAGS = ["O", "B-x", "I-x", "B-y", "I-y"]
MOVES = np.array([
    [0.6, 0.2, 0.0, 0.2, 0.0],
    [0.1, 0.0, 0.7, 0.2, 0.0],
    [0.3, 0.0, 0.5, 0.2, 0.0],
    [0.1, 0.2, 0.0, 0.0, 0.7],
    [0.3, 0.2, 0.0, 0.0, 0.5],
])  # fmt: skip
WORDS = 30


def sentences(count, rng):
    """Words (N, 12), tags (N, 12) and mask: each tag prefers six words, and says any other at times."""
    words, tags = np.zeros((count, 12), np.int64), np.zeros((count, 12), np.int64)
    mask = np.arange(12) < rng.integers(6, 13, count)[:, None]
    for n in range(count):
        tag = 0
        for t in range(12):
            tag = tags[n, t] = rng.choice(5, p=MOVES[tag])
            words[n, t] = rng.integers(WORDS) if rng.random() < 0.25 else 6 * tag + rng.integers(6)
    return wg.tensor(words), wg.tensor(tags), wg.tensor(mask)


class Tagger(nn.Module):
    def __init__(self, crf):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 16)
        self.lstm = nn.LSTM(16, 24, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(48, 5)
        self.crf = nn.CRF(5, batch_first=True) if crf else None

    def scores(self, words):
        return self.linear(self.lstm(self.embedding(words))[0])

    def loss(self, words, tags, mask):
        if self.crf is not None:
            return -self.crf(self.scores(words), tags, mask, reduction="token_mean")
        return F.cross_entropy(self.scores(words)[mask], tags[mask])

    def decode(self, words, mask):
        with wg.no_grad():
            if self.crf is not None:
                return self.crf.decode(self.scores(words), mask)
            best = self.scores(words).argmax(2).tolist()
        return [path[:n] for path, n in zip(best, mask.sum(1).tolist())]


def result(crf, train, valid, test, epochs, seed=0):
    """Share of sentences without a fault, and the number of illegal moves, at the best epoch on `valid`."""
    wg.manual_seed(seed)
    model = Tagger(crf)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    best = (-1.0, 0.0, 0)
    for _ in range(epochs):
        for batch in wg.randperm(len(train[0])).split(50):
            optimizer.zero_grad()
            model.loss(*[x[batch] for x in train]).backward()
            optimizer.step()
        scores = []
        for words, tags, mask in (valid, test):
            paths = model.decode(words, mask)
            right = [p == t[: len(p)] for p, t in zip(paths, tags.tolist())]
            scores += [sum(right) / len(right), sum((MOVES[p[:-1], p[1:]] == 0).sum() for p in paths)]
        best = max(best, (scores[0], scores[2], int(scores[3])), key=lambda s: s[0])
    return best[1:]


def main(smoke=False):
    rng = np.random.default_rng(0)
    sets = [sentences(n, rng) for n in ((50, 20, 20) if smoke else (1000, 300, 2000))]
    found = {}
    for name, crf in (("LSTM", False), ("LSTM + CRF", True)):
        found[name] = result(crf, *sets, 1 if smoke else 12)
        print(f"{name:10}: {100 * found[name][0]:.1f} % of sentences without a fault, {found[name][1]} illegal moves")
    lead = found["LSTM + CRF"][0] - found["LSTM"][0]
    print(f"the CRF leads by {100 * lead:.1f} points (wanted 2)")
    return smoke or (lead >= 0.02 and 5 * found["LSTM + CRF"][1] <= found["LSTM"][1])


if __name__ == "__main__":
    sys.exit(not main("--smoke" in sys.argv))
