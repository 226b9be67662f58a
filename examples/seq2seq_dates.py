"""From sequence to sequence with attention: dates as people write them become dates as computers sort them.

    python examples/seq2seq_dates.py [--smoke]

Bahdanau, Cho and Bengio 2015. Data, generated: days of the years 1900 to 2099 in five notations, such as "Tuesday, 3
March 2026", to be written as "2026-03-03". The rule is exact and its parts are seen in training, so of 1000 days that
it has not seen it should get 95 % right to the last digit. 500 others choose the best round.
"""

import calendar
import datetime
import sys

import numpy as np

import wengert as wg
import wengert.nn.functional as F
from wengert import optim
from wengert.nn import Seq2Seq

LETTERS = "\0" + " ,-./0123456789" + "abcdefghijklmnopqrstuvwxyz"
DIGITS = "\0>-0123456789"  # the end, the beginning, and what a date is made of
END, BEGIN = 0, 1


def notation(day, kind):
    month, week = calendar.month_name[day.month], calendar.day_name[day.weekday()]
    return (
        f"{week}, {day.day} {month} {day.year}",
        f"{month} {day.day}, {day.year}",
        f"{day.day}.{day.month}.{day.year}",
        f"{day.day} {month[:3]} {day.year}",
        f"{week[:3]} {month[:3]} {day.day:02d} {day.year}",
    )[kind].lower()


def dataset(days, rng):
    """Sources (N, 28) and targets (N, 12): the beginning, ten letters, the end."""
    lines = [notation(day, kind) for day, kind in zip(days, rng.integers(5, size=len(days)))]
    sources = wg.tensor([[LETTERS.index(c) for c in line.ljust(28, "\0")] for line in lines])
    targets = wg.tensor([[DIGITS.index(c) for c in f">{day.isoformat()}\0"] for day in days])
    return lines, sources, targets


def written(net, sources):
    found = net.greedy(sources, BEGIN, END, 11, sources > 0)
    return ["".join(DIGITS[i] for i in row).split("\0")[0] for row in found.tolist()]


def right(net, part):
    _, sources, targets = part
    net.eval()
    wanted = ["".join(DIGITS[i] for i in row[1:-1]) for row in targets.tolist()]
    return sum(a == b for a, b in zip(written(net, sources), wanted)) / len(wanted)


def main(smoke=False):
    wg.manual_seed(0)
    rng = np.random.default_rng(0)
    sizes = (100, 20, 20) if smoke else (8000, 500, 1000)
    chosen = rng.choice(200 * 365, sum(sizes), replace=False)
    days = [datetime.date(1900, 1, 1) + datetime.timedelta(int(n)) for n in chosen]
    ends = np.cumsum(sizes)
    train, valid, test = (dataset(days[end - n : end], rng) for n, end in zip(sizes, ends))

    net = Seq2Seq(len(LETTERS), len(DIGITS), 24, 96)
    steps = 3 if smoke else 300
    optimizer = optim.Adam(net.parameters(), lr=0.005)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best, kept = -1.0, {}
    for step in range(steps):
        batch = wg.randint(0, sizes[0], (64,))
        source, target = train[1][batch], train[2][batch]
        net.train()
        logits = net(source, target[:, :-1], source > 0)
        loss = F.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        wg.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 99 or smoke:
            share = right(net, valid)
            print(f"step {step + 1}: loss {loss.item():.4f}, {100 * share:.1f} % of the validation days right")
            if share > best:
                best, kept = share, {name: p.clone() for name, p in net.state_dict().items()}
    net.load_state_dict(kept)
    for line, found in zip(test[0][:5], written(net, test[1][:5])):
        print(f"{line:28} {found}")
    reached = right(net, test)
    print(f"{100 * reached:.1f} % of the unseen days right (wanted 95 %)")
    return smoke or reached >= 0.95


if __name__ == "__main__":
    sys.exit(not main("--smoke" in sys.argv))
