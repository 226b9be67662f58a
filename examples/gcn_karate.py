"""A graph network finds the two camps of a karate club from one labelled member of each.

    python examples/gcn_karate.py [--smoke]

Zachary's karate club (1977): 34 members, 78 friendships; the club split between its teacher (member 0) and its
president (member 33). Members have no features but their number. Kipf and Welling 2017. Should name the camp
of 95 % of the other members.
"""

import sys

import wengert as wg
import wengert.nn.functional as F
from wengert import data, nn, optim


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        # Three steps: what the two labels say reaches members three friendships away.
        self.conv1 = nn.GCNConv(34, 4)
        self.conv2 = nn.GCNConv(4, 4)
        self.conv3 = nn.GCNConv(4, 2)

    def forward(self, x, edges):
        x = wg.tanh(self.conv1(x, edges))
        x = wg.tanh(self.conv2(x, edges))
        return self.conv3(x, edges)


def main(smoke=False):
    wg.manual_seed(0)
    x, edges, camps, _ = data.karate_club()
    net = Net()
    known = wg.tensor([0, 33])
    optimizer = optim.Adam(net.parameters(), lr=0.01, weight_decay=5e-4)
    for step in range(5 if smoke else 200):
        loss = F.cross_entropy(net(x, edges)[known], camps[known])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            print(f"step {step:3d}: loss {loss.item():.3f}")

    right = net(x, edges).argmax(1) == camps
    accuracy = right[1:33].float().mean().item()
    print(f"wrong: members {(~right).nonzero().flatten().tolist()}")
    print(f"{100 * accuracy:.1f} % of the unlabelled members (wanted 95 %)")
    return smoke or accuracy >= 0.95


if __name__ == "__main__":
    sys.exit(not main("--smoke" in sys.argv))
