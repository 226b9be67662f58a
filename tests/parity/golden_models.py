"""torchvision's networks: names and shapes of their states, and outputs for weights that a formula gives.

pip install --no-deps torchvision==0.28.0
python tests/parity/golden_models.py     writes tests/models/golden.json
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

# Its compiled part belongs to one build of torch. The networks are plain Python and need none of it.
torch.library.register_fake = lambda name: lambda function: function
from torchvision import models  # noqa: E402

from wengert.testing.golden import formula  # noqa: E402

STATES = ["alexnet", "vgg11", "vgg19_bn", "resnet18", "resnet34", "vit_b_16"]
COUNTS = [*STATES, "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19"]
SMALL = "image_size=8, patch_size=4, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=24, num_classes=4"
# A network, what is called, and the shape of the input.
OUTPUTS = [
    ("alexnet(num_classes=4).features", (1, 3, 95, 95)),
    ("alexnet(num_classes=2).classifier[4:]", (2, 4096)),
    ("vgg11(num_classes=4).features", (1, 3, 32, 32)),
    ("vgg13_bn(num_classes=4).features", (1, 3, 32, 32)),
    ("resnet18(num_classes=4)", (2, 3, 33, 40)),
    ("resnet34(num_classes=4)", (1, 3, 32, 32)),
    (f"VisionTransformer({SMALL})", (2, 3, 8, 8)),
]


def output(text: str, shape: tuple[int, ...]) -> list[float]:
    """Up to eight outputs, spread over the whole."""
    called = eval(text, vars(models)).double().eval()
    state = {name: torch.as_tensor(formula(name, tuple(v.shape))) for name, v in called.state_dict().items()}
    called.load_state_dict({name: v.to(called.state_dict()[name].dtype) for name, v in state.items()})
    with torch.no_grad():
        y = called(torch.from_numpy(formula("input", shape))).flatten()
    return [float(f"{v:.12g}") for v in y[:: max(1, len(y) // 8)][:8].tolist()]


def make() -> dict[str, Any]:
    """Everything that is stored."""
    torch.set_num_threads(1)
    nets = {name: getattr(models, name)() for name in COUNTS}
    return {
        "states": {name: {k: list(v.shape) for k, v in nets[name].state_dict().items()} for name in STATES},
        "counts": {name: sum(p.numel() for p in net.parameters()) for name, net in nets.items()},
        "outputs": [[text, shape, output(text, shape)] for text, shape in OUTPUTS],
    }


if __name__ == "__main__":
    target = Path(__file__).resolve().parents[1] / "models" / "golden.json"
    parts = make()
    states = ",\n".join(f"{json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in parts["states"].items())
    outputs = ",\n".join(json.dumps(row) for row in parts["outputs"])
    target.write_text(
        f'{{"states": {{\n{states}\n}},\n"counts": {json.dumps(parts["counts"])},\n"outputs": [\n{outputs}\n]}}\n'
    )
