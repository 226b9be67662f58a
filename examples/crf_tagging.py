"""A tagger with an LSTM alone, and the same with a conditional random field on top, which beats it.

    python examples/crf_tagging.py [--smoke]

Huang, Xu and Yu 2015. Data, generated: sentences with names of two kinds, tagged O, B-x, I-x; words are ambiguous, and
a name of kind x never follows one of kind x at once. The LSTM chooses each tag by itself, the field all together, and
can learn which do not follow each other. So it should tag more of the 2000 test sentences without a fault: more by at
least two standard errors of the paired difference, which chance gives once in forty times; and make fewer moves that
do not exist. 300 other sentences choose rate and epoch of each.
"""

import sys

import numpy as np

import wengert as wg
from wengert import optim
from wengert.models import LSTMTagger

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


def judged(model, words, tags, mask):
    """Which sentences are tagged without a fault (N), and how many moves do not exist."""
    paths = model.decode(words, mask)
    right = np.array([p == t[: len(p)] for p, t in zip(paths, tags.tolist())])
    return right, sum(int((MOVES[p[:-1], p[1:]] == 0).sum()) for p in paths)


def fit(crf, rate, train, valid, epochs):
    """The best share of right validation sentences, and the weights of that epoch."""
    wg.manual_seed(0)
    model = LSTMTagger(WORDS, len(TAGS), 16, 24, crf)
    optimizer = optim.Adam(model.parameters(), lr=rate)
    best, kept = -1.0, {}
    for _ in range(epochs):
        for batch in wg.randperm(len(train[0])).split(50):
            optimizer.zero_grad()
            model.loss(*[x[batch] for x in train]).backward()
            optimizer.step()
        share = judged(model, *valid)[0].mean()
        if share > best:
            best, kept = share, {name: p.clone() for name, p in model.state_dict().items()}
    model.load_state_dict(kept)
    return best, model


def main(smoke=False):
    rng = np.random.default_rng(0)
    train, valid, test = [sentences(n, rng) for n in ((50, 20, 20) if smoke else (1000, 300, 2000))]
    right, illegal = {}, {}
    for crf in (False, True):
        runs = [
            (rate, *fit(crf, rate, train, valid, 1 if smoke else 12)) for rate in ((0.01,) if smoke else (0.005, 0.02))
        ]
        rate, _, model = max(runs, key=lambda run: run[1])
        right[crf], illegal[crf] = judged(model, *test)
        print(f"{'LSTM + CRF' if crf else 'LSTM':10} (rate {rate}): {100 * right[crf].mean():.1f} % of the sentences "
              f"without a fault, {illegal[crf]} moves that do not exist")  # fmt: skip
    lead = right[True].astype(float) - right[False]
    error = lead.std() / len(lead) ** 0.5
    print(f"the CRF leads by {100 * lead.mean():.1f} points (wanted two standard errors, {200 * error:.1f})")
    return smoke or (lead.mean() >= 2 * error and illegal[True] < illegal[False])


if __name__ == "__main__":
    sys.exit(not main("--smoke" in sys.argv))
