"""The transformer, encoder and decoder, reads Roman numerals and writes them as we do.

    python examples/transformer_numerals.py [--smoke]

Vaswani et al. 2017. Data: all numbers from 1 to 3999, such as MCMXCIV for 1994; 3000 of them to train, 399 to choose
the best round, 600 to test. The rule is exact and its parts are seen in training, so of the numbers that it has not
seen it should get 95 % right to the last digit.
"""

import sys

import wengert as wg
import wengert.nn.functional as F
from wengert import optim
from wengert.models import Seq2SeqTransformer

SIGNS = "\0IVXLCDM"
DIGITS = "\0>0123456789"
END, BEGIN = 0, 1
VALUES = dict(zip(("M", "CM", "D", "CD", "C", "XC", "L", "XL", "X", "IX", "V", "IV", "I"),
                  (1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1)))  # fmt: skip


def roman(number):
    text = ""
    for sign, value in VALUES.items():
        text += sign * (number // value)
        number %= value
    return text


def right(net, sources, targets):
    net.eval()
    found = net.greedy(sources, BEGIN, END, 5, sources > 0)
    found = F.pad(found, (0, 5 - found.shape[1]))
    return (found == targets[:, 1:]).all(1).float().mean().item()


def main(smoke=False):
    wg.manual_seed(0)
    numbers = range(1, 4000)
    sources = wg.tensor([[SIGNS.index(c) for c in roman(n).ljust(15, "\0")] for n in numbers])
    targets = wg.tensor([[DIGITS.index(c) for c in f">{n}".ljust(6, "\0")] for n in numbers])
    sizes = [64, 10, 10] if smoke else [3000, 399, 600]
    parts = wg.randperm(len(numbers))[: sum(sizes)].split(sizes)
    train, valid, test = [(sources[part], targets[part]) for part in parts]

    net = Seq2SeqTransformer(len(SIGNS), len(DIGITS), 48, 4, 2, 2, 96, dropout=0.05, max_length=16, norm_first=True)
    epochs = 1 if smoke else 30
    optimizer = optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, epochs=epochs, steps_per_epoch=-(-sizes[0] // 64))
    best, kept = -1.0, {}
    for epoch in range(epochs):
        net.train()
        for batch in wg.randperm(sizes[0]).split(64):
            source, target = train[0][batch], train[1][batch]
            logits = net(source, target[:, :-1], source > 0)
            # What follows the end is padding and does not count.
            loss = F.cross_entropy(logits[target[:, :-1] > 0], target[:, 1:][target[:, :-1] > 0])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        if epoch % 3 == 2 or smoke:
            share = right(net, *valid)
            print(f"epoch {epoch + 1:2d}: loss {loss.item():.4f}, {100 * share:.1f} % of the validation numbers right")
            if share > best:
                best, kept = share, {name: p.clone() for name, p in net.state_dict().items()}
    net.load_state_dict(kept)
    year = wg.tensor([[SIGNS.index(c) for c in "MCMXCIV"]])
    print("MCMXCIV", "".join(DIGITS[i] for i in net.greedy(year, BEGIN, END, 5)[0].tolist()).strip("\0"))
    reached = right(net, *test)
    print(f"{100 * reached:.1f} % of the unseen numbers right (wanted 95 %)")
    return smoke or reached >= 0.95


if __name__ == "__main__":
    sys.exit(not main("--smoke" in sys.argv))
