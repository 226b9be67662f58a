"""A small GPT learns to write like Python's manual, letter by letter.

    python examples/char_gpt.py [--smoke]

Data: the texts of `help()` topics in the standard library, each paragraph once (what is held out must be new), the last
tenth to test, the tenth before to watch the training by. Should reach 1.8 nats a letter of the test text (by the
frequency of letters: 3.2, of pairs: 2.4), and writes a few lines.
"""

import sys

import wengert as wg
from wengert import data, optim
from wengert.models import GPT

BLOCK, BATCH = 48, 24


def windows(text, count):
    """Random pieces, one letter longer than the network looks at."""
    starts = wg.randint(0, len(text) - BLOCK - 1, (count,))
    return text[starts.unsqueeze(1) + wg.arange(BLOCK + 1)]


def nats(net, text, batches):
    """The loss a letter, over random pieces."""
    net.eval()
    with wg.no_grad():
        losses = [net.loss(windows(text, 100)).item() for _ in range(batches)]
    net.train()
    return sum(losses) / len(losses)


def main(smoke=False):
    wg.manual_seed(0)
    text = data.read_topics()
    letters = sorted(set(text))
    number = {c: i for i, c in enumerate(letters)}
    tokens = wg.tensor([number[c] for c in text])
    tenth = len(tokens) // 10
    train, valid, test = tokens[: -2 * tenth], tokens[-2 * tenth : -tenth], tokens[-tenth:]

    share = wg.bincount(train, minlength=len(letters)).float() / len(train)
    print(f"{len(text)} letters, {len(letters)} kinds; by frequency {-(share * share.log()).nansum().item():.2f} nats")
    net = GPT(len(letters), BLOCK, layers=2, heads=4, width=64)
    steps = 5 if smoke else 800
    optimizer = optim.AdamW(net.parameters(), lr=3e-3, betas=(0.9, 0.99), weight_decay=0.1)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, 3e-4)
    for step in range(steps):
        loss = net.loss(windows(train, BATCH))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1:4d}: {loss.item():.3f} nats, validation {nats(net, valid, 2):.3f}")

    start = wg.tensor([[number[c] for c in "The "]])
    written = net.generate(start, 20 if smoke else 300, temperature=0.8, top_p=0.95)[0]
    print("".join(letters[i] for i in written.tolist()))
    reached = nats(net, test, 1 if smoke else 10)
    print(f"test text {reached:.3f} nats a letter (wanted 1.8)")
    return smoke or reached <= 1.8


if __name__ == "__main__":
    sys.exit(not main("--smoke" in sys.argv))
