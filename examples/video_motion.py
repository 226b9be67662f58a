"""A net that convolves over time as well tells how something moves in a video.

    python examples/video_motion.py [--smoke]

Tran et al. 2015. Data, synthesised: clips of a bright disc that moves left, right, up or down, grows or shrinks, before
a background of noise; written as MP4 files, one folder a movement, and read back. No single frame shows the movement:
who sees one only guesses, one in six. Over eight frames it is plain to see, so of the test clips the net should get
95 % right. Other clips choose the epoch.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

import wengert as wg
import wengert.nn.functional as F
from wengert import data, optim
from wengert.models import VideoNet

FRAMES, SIZE = 8, 32
KINDS = ("down", "grows", "left", "right", "shrinks", "up")  # in the order of their folders
STEPS = {"down": (1, 0, 0), "grows": (0, 0, 0.5), "left": (0, -1, 0), "right": (0, 1, 0), "shrinks": (0, 0, -0.5),
         "up": (-1, 0, 0)}  # fmt: skip


def clip(kind, rng):
    """Frames (FRAMES, 3, SIZE, SIZE) of uint8. The middle of the movement is anywhere in the middle of the picture."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    colour = rng.uniform(0.6, 1.0, (3, 1, 1))
    middle, speed = np.array([*rng.uniform(11, 21, 2), rng.uniform(4.5, 6.5)]), rng.uniform(0.8, 1.4)
    frames = []
    for t in range(FRAMES):
        row, column, radius = middle + np.array(STEPS[kind]) * speed * (t - (FRAMES - 1) / 2)
        inside = np.clip(radius - np.hypot(rows - row, columns - column) + 0.5, 0, 1)
        picture = 0.25 + 0.05 * rng.standard_normal((3, SIZE, SIZE))
        frames.append(picture * (1 - inside) + colour * inside)
    return (255 * np.clip(frames, 0, 1)).astype(np.uint8)


def filmed(count, rng):
    """Clips (6 count, 3, FRAMES, 16, 16) from 0 to 1 and kinds (6 count), from files that are written and read."""
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            (Path(folder) / kind).mkdir()
            for n in range(count):
                data.write_video(clip(kind, rng), Path(folder) / kind / f"{n}.mp4", frame_rate=8)
        videos = data.VideoFolder(folder, FRAMES)
        assert tuple(videos.classes) == KINDS
        pairs = [videos[i] for i in range(len(videos))]
    x = wg.tensor(np.stack([frames for frames, _ in pairs])).float().transpose(1, 2) / 255
    return F.avg_pool3d(x, (1, 2, 2)), wg.tensor([kind for _, kind in pairs])


def accuracy(net, x, y):
    net.eval()
    with wg.no_grad():
        return (wg.cat([net(part) for part in x.split(60)]).argmax(1) == y).float().mean().item()


def main(smoke=False):
    wg.manual_seed(0)
    rng = np.random.default_rng(0)
    (x, y), valid, test = [filmed(n, rng) for n in ((3, 1, 1) if smoke else (80, 20, 40))]
    net = VideoNet(len(KINDS), channels=(8, 16, 32))
    optimizer = optim.AdamW(net.parameters(), lr=0.003)
    best, kept = -1.0, {}
    for epoch in range(1 if smoke else 10):
        net.train()
        for batch in wg.randperm(len(x)).split(32):
            loss = F.cross_entropy(net(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        right = accuracy(net, *valid)
        if right >= best:
            best, kept = right, {name: v.clone() for name, v in net.state_dict().items()}
        print(f"epoch {epoch + 1:2d}: loss {loss.item():.3f}, {100 * right:.1f} % of the validation clips right")
    net.load_state_dict(kept)
    reached = accuracy(net, *test)
    print(f"{100 * reached:.1f} % of {len(test[1])} test clips right (wanted 95 %)")
    return smoke or reached >= 0.95


if __name__ == "__main__":
    sys.exit(not main("--smoke" in sys.argv))
