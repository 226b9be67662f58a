"""Results of torch that the tests of nn and optim compare with, stored as JSON so that they need no torch.

    python tests/parity/golden.py     writes tests/nn/golden.json and tests/optim/golden.json
    python tests/parity/golden.py optim     only the second

`test_golden.py` beside this file checks that the stored results are what torch gives today.
Everything is computed in float64 by one thread.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))

from golden_nn import CALLS, LAYERS, LOSSES

TESTS = Path(__file__).resolve().parents[1]

GAINS = [
    "init.calculate_gain('linear')",
    "init.calculate_gain('conv2d')",
    "init.calculate_gain('tanh')",
    "init.calculate_gain('relu')",
    "init.calculate_gain('leaky_relu')",
    "init.calculate_gain('leaky_relu', 0.2)",
    "init.calculate_gain('selu')",
]

OPTIMIZERS = [
    "optim.SGD(params, lr=0.1)",
    "optim.SGD(params)",
    "optim.SGD(params, lr=0.1, momentum=0.9, dampening=0.1, weight_decay=0.01)",
    "optim.SGD(params, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01)",
    "optim.SGD(params, lr=0.1, momentum=0.5, maximize=True)",
    "optim.SGD([{'params': params[:1], 'lr': 0.5}, {'params': params[1:]}], lr=0.1, momentum=0.5)",
    "optim.Adam(params)",
    "optim.Adam(params, lr=0.1, betas=(0.8, 0.9), weight_decay=0.1, amsgrad=True)",
    "optim.Adam(params, lr=0.1, maximize=True, eps=1e-4)",
    "optim.AdamW(params)",
    "optim.AdamW(params, lr=0.1, weight_decay=0.1, amsgrad=True, maximize=True)",
    "optim.RMSprop(params)",
    "optim.RMSprop(params, centered=True, momentum=0.9, weight_decay=0.01)",
    "optim.RMSprop(params, centered=True, maximize=True)",
    "optim.RMSprop(params, momentum=0.3, alpha=0.9, eps=1e-5)",
    "optim.Adagrad(params)",
    "optim.Adagrad(params, lr=0.1, lr_decay=0.1, weight_decay=0.1, initial_accumulator_value=0.5)",
    "optim.Adagrad(params, maximize=True)",
    "optim.Adadelta(params)",
    "optim.Adadelta(params, lr=0.5, rho=0.8, weight_decay=0.1, maximize=True)",
    "optim.Adafactor(params)",
    "optim.Adafactor(params, lr=0.1, weight_decay=0.1, d=1.5, eps=(1e-3, 1e-2), maximize=True)",
    "optim.Adamax(params)",
    "optim.Adamax(params, lr=0.1, betas=(0.8, 0.9), weight_decay=0.1, maximize=True)",
    "optim.ASGD(params)",
    "optim.ASGD(params, lr=0.1, lambd=0.01, t0=3, weight_decay=0.1)",
    "optim.Muon(params[:1], lr=0.1)",
    "optim.Muon(params[:1], lr=0.1, nesterov=False, adjust_lr_fn='match_rms_adamw')",
    "optim.NAdam(params)",
    "optim.NAdam(params, lr=0.1, weight_decay=0.1, momentum_decay=0.1, maximize=True)",
    "optim.NAdam(params, lr=0.1, weight_decay=0.1, decoupled_weight_decay=True)",
    "optim.RAdam(params)",
    "optim.RAdam(params, lr=0.1, betas=(0.8, 0.9), weight_decay=0.1, maximize=True)",
    "optim.RAdam(params, lr=0.1, weight_decay=0.1, decoupled_weight_decay=True)",
    "optim.Rprop(params)",
    "optim.Rprop(params, lr=0.1, etas=(0.4, 1.5), step_sizes=(1e-3, 0.2), maximize=True)",
    "optim.SparseAdam(params, lr=0.1)",
]

SCHEDULES = [
    "S.StepLR(optimizer, 3, gamma=0.5)",
    "S.MultiStepLR(optimizer, [2, 5, 5, 9], gamma=0.3)",
    "S.ExponentialLR(optimizer, 0.9)",
    "S.CosineAnnealingLR(optimizer, 4, eta_min=0.01)",
    "S.CosineAnnealingLR(optimizer, 7)",
    "S.LambdaLR(optimizer, lambda epoch: 0.95**epoch)",
    "S.LambdaLR(optimizer, [lambda epoch: 1 / (epoch + 1), lambda epoch: epoch])",
    "S.MultiplicativeLR(optimizer, lambda epoch: 0.9 + 0.01 * epoch)",
    "S.ConstantLR(optimizer, 0.5, 4)",
    "S.LinearLR(optimizer, 0.2, 0.9, 6)",
    "S.PolynomialLR(optimizer, 7, 2.0)",
    "S.CosineAnnealingWarmRestarts(optimizer, 3, 2, 0.01)",
    "S.CosineAnnealingWarmRestarts(optimizer, 4)",
    "S.CyclicLR(optimizer, 0.01, 0.2, 3, 4)",
    "S.CyclicLR(optimizer, [0.01, 0.02], [0.2, 0.3], 3, mode='triangular2', base_momentum=0.7)",
    "S.CyclicLR(optimizer, 0.01, 0.2, 3, mode='exp_range', gamma=0.95, cycle_momentum=False)",
    "S.CyclicLR(optimizer, 0.01, 0.2, 3, scale_fn=lambda x: 0.5**x, scale_mode='iterations')",
    "S.OneCycleLR(optimizer, 0.5, 25)",
    "S.OneCycleLR(optimizer, [0.5, 0.3], epochs=5, steps_per_epoch=5, anneal_strategy='linear', three_phase=True)",
    "S.ChainedScheduler([S.ConstantLR(optimizer, 0.1, 2), S.ExponentialLR(optimizer, 0.9)])",
    "S.SequentialLR(optimizer, [S.LinearLR(optimizer, 0.1, 1.0, 5), S.ExponentialLR(optimizer, 0.5)], [5])",
    "S.SequentialLR(optimizer, [S.ConstantLR(optimizer, 0.1, 2), S.CosineAnnealingWarmRestarts(optimizer, 3, 2)], [4])",
    "W.SWALR(optimizer, 0.05, 4)",
    "W.SWALR(optimizer, [0.05, 0.9], 3, 'linear')",
]
LBFGS = [
    "optim.LBFGS(params, lr=1e-3)",
    "optim.LBFGS(params, line_search_fn='strong_wolfe', max_iter=5)",
    "optim.LBFGS(params, line_search_fn='strong_wolfe', max_iter=5, history_size=3)",
    "optim.LBFGS(params, lr=0.5, line_search_fn='strong_wolfe', max_iter=4, max_eval=9)",
]
PLATEAUS = [
    "S.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)",
    "S.ReduceLROnPlateau(optimizer, 'max', factor=0.5, patience=0, threshold=0.05, cooldown=2)",
    "S.ReduceLROnPlateau(optimizer, factor=0.1, patience=0, threshold_mode='abs', min_lr=[1e-3, 0.02])",
]


def draw(rng: np.random.Generator, spec: Any) -> torch.Tensor:
    """A tensor of a shape; probabilities of a shape ("p(4, 3)"); or the given class numbers."""
    if isinstance(spec, tuple):
        # Rounded, so that the stored text is short and still exactly the number that was used.
        return torch.tensor(np.round(rng.standard_normal(spec), 3))
    if isinstance(spec, str):
        logits = np.round(rng.standard_normal(eval(spec[1:])), 3)
        return torch.tensor(np.round(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True), 3))
    return torch.tensor(np.array(spec))


def layers() -> list[dict[str, Any]]:
    """Output, gradient of the input and of the parameters of each layer."""
    cases = []
    for text, shape in LAYERS:
        rng = np.random.default_rng(len(cases))
        x = draw(rng, shape)
        module = build(text, rng, (x,) if "Lazy" in text else None)
        state = {name: v.tolist() for name, v in module.state_dict().items()}
        if x.is_floating_point():
            x.requires_grad_()
        y = module(x)
        g = draw(rng, tuple(y.shape))
        y.backward(g)
        grads = {name: p.grad.tolist() for name, p in module.named_parameters()}
        after = {name: v.tolist() for name, v in module.named_buffers()}
        cases.append(
            {
                "module": text,
                "repr": repr(module),
                "state": state,
                "input": x.tolist(),
                "upstream": g.tolist(),
                "output": y.tolist(),
                "input_grad": x.grad.tolist() if x.requires_grad else None,
                "grads": grads,
                "buffers": after,
            }
        )
    return cases


def build(text: str, rng: np.random.Generator, warm_up: Any = None) -> torch.nn.Module:
    """The module in float64 with drawn parameters, called once before if it is lazy."""
    torch.manual_seed(0)
    module = eval(text, {"nn": torch.nn}).double()
    if warm_up is not None:
        module(*warm_up)
    for p in module.parameters():
        p.data = draw(rng, tuple(p.shape))
    return module


def flat(values: Any) -> list[torch.Tensor]:
    """All tensors in nested tuples, in order."""
    return [y for part in values for y in flat(part)] if isinstance(values, tuple) else [values]


def calls() -> list[dict[str, Any]]:
    """Outputs of modules with several inputs, and the gradients of the sum of their sines."""
    cases = []
    for text, call, inputs in CALLS:
        rng = np.random.default_rng(200 + len(cases))
        module = build(text, rng)
        state = {name: v.tolist() for name, v in module.state_dict().items()}
        given = {name: draw(rng, spec) for name, spec in inputs.items()}
        stored = {name: x.tolist() for name, x in given.items()}
        for x in given.values():
            x.requires_grad_(x.is_floating_point())
        outputs = flat(eval(call, {"nn": torch.nn, "m": module, **given}))
        sum((k + 1) * y.sin().sum() for k, y in enumerate(outputs) if y.is_floating_point()).backward()
        cases.append(
            {
                "module": text,
                "call": call,
                "repr": repr(module).replace("NonDynamicallyQuantizableLinear", "Linear"),
                "state": state,
                "inputs": stored,
                "outputs": [y.tolist() for y in outputs],
                "input_grads": {name: x.grad.tolist() for name, x in given.items() if x.grad is not None},
                "grads": {name: None if p.grad is None else p.grad.tolist() for name, p in module.named_parameters()},
            }
        )
    return cases


def losses() -> list[dict[str, Any]]:
    """Value and gradient of each loss."""
    cases = []
    for text, input_spec, target_spec, extra in LOSSES:
        rng = np.random.default_rng(100 + len(cases))
        x = draw(rng, input_spec).requires_grad_()
        target = draw(rng, target_spec)
        tensors = {name: torch.tensor(value, dtype=torch.float64) for name, value in extra.items()}
        loss = eval(text, {"nn": torch.nn, **tensors})(x, target)
        loss.sum().backward()
        cases.append(
            {"module": text, "tensors": extra, "input": x.tolist(), "target": target.tolist()}
            | {"output": loss.tolist(), "input_grad": x.grad.tolist()}
        )
    return cases


def gains() -> dict[str, float]:
    """The gain of each nonlinearity."""
    return {text: eval(text, {"init": torch.nn.init}) for text in GAINS}


def trajectory() -> dict[str, Any]:
    """The starting values of two parameters, and ten gradients for each."""
    rng = np.random.default_rng(3)
    shapes = ((2, 3), (3,))
    return {
        "start": [draw(rng, shape).tolist() for shape in shapes],
        "gradients": [[draw(rng, shape).tolist() for shape in shapes] for _ in range(10)],
    }


def optimizers(dtype: torch.dtype) -> list[dict[str, Any]]:
    """Parameters after the first and the tenth step along the trajectory, and the state at the end."""
    given = trajectory()
    cases = []
    for text in OPTIMIZERS:
        params = [torch.nn.Parameter(torch.tensor(start, dtype=dtype)) for start in given["start"]]
        optimizer = eval(text, {"optim": torch.optim, "params": params})
        steps = []
        for gradients in given["gradients"]:
            for p, gradient in zip(params, gradients, strict=True):
                p.grad = torch.tensor(gradient, dtype=dtype)
                if "SparseAdam" in text:  # small gradients count as none
                    p.grad = torch.where(p.grad.abs() < 0.5, 0, p.grad).to_sparse()
            optimizer.step()
            steps.append([p.tolist() for p in params])
        saved = optimizer.state_dict()
        state = {
            str(i): {k: v.tolist() if isinstance(v, torch.Tensor) else v for k, v in s.items()}
            for i, s in saved["state"].items()
        }
        cases.append(
            {"optimizer": text, "first": steps[0], "tenth": steps[-1], "state": state}
            | {"groups": saved["param_groups"]}
        )
    return cases


def schedules() -> list[dict[str, Any]]:
    """The rates of two groups over twenty epochs."""
    measures = np.round(np.random.default_rng(7).random(20), 2).tolist()
    cases = []
    for text in SCHEDULES + PLATEAUS:
        params = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
        optimizer = torch.optim.SGD([{"params": params[:1]}, {"params": params[1:], "lr": 0.5}], lr=0.1)
        names = {"S": torch.optim.lr_scheduler, "W": torch.optim.swa_utils, "optimizer": optimizer}
        schedule = eval(text, names)
        rates = []
        for measure in measures:
            optimizer.step()
            schedule.step(*([measure] if text in PLATEAUS else []))
            rates.append([group["lr"] for group in optimizer.param_groups])
        momenta = [group["momentum"] for group in optimizer.param_groups]
        cases.append({"schedule": text, "measures": measures if text in PLATEAUS else None, "rates": rates})
        cases[-1]["momenta"] = momenta
    return cases


def rosenbrock() -> list[dict[str, Any]]:
    """L-BFGS on Rosenbrock's function of three variables: ten steps' losses, the end, how often it was called."""
    cases = []
    for text in LBFGS:
        p = torch.nn.Parameter(torch.tensor([-1.2, 1.0, 0.5], dtype=torch.float64))
        optimizer = eval(text, {"optim": torch.optim, "params": [p]})

        def closure(p: Any = p, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            loss = ((1 - p[:-1]) ** 2 + 100 * (p[1:] - p[:-1] ** 2) ** 2).sum()
            loss.backward()
            return loss

        losses = [optimizer.step(closure).item() for _ in range(10)]
        calls = optimizer.state_dict()["state"][0]["func_evals"]
        cases.append({"optimizer": text, "losses": losses, "end": p.tolist(), "calls": calls})
    return cases


def curve() -> dict[str, Any]:
    """Loss over ten steps of a small network: layers, loss and optimizer together."""
    rng = np.random.default_rng(5)
    net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).double()
    for p in net.parameters():
        p.data = draw(rng, tuple(p.shape))
    state = {name: v.tolist() for name, v in net.state_dict().items()}
    x, y = draw(rng, (12, 2)), torch.tensor([0, 1, 2] * 4)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return {"state": state, "input": x.tolist(), "target": y.tolist(), "losses": losses}


def short(value: Any) -> Any:
    """The same with twelve digits, which is finer than what the tests compare and half as long."""
    if isinstance(value, dict):
        return {name: short(part) for name, part in value.items()}
    if isinstance(value, list):
        return [short(part) for part in value]
    return float(f"{value:.12g}") if isinstance(value, float) else value


def make() -> dict[str, dict[str, Any]]:
    """All results by the folder of the tests that they belong to."""
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "nn": {
                "torch": torch.__version__,
                "layers": short(layers()),
                "losses": short(losses()),
                "calls": short(calls()),
                "gains": gains(),
                "curve": curve(),
            },
            "optim": {
                "torch": torch.__version__,
                "trajectory": trajectory(),
                "float32": optimizers(torch.float32),
                "float64": optimizers(torch.float64),
                "schedules": schedules(),
                "rosenbrock": rosenbrock(),
            },
        }


def dump(value: Any) -> str:
    """JSON with one case a line, so that a change shows as a short diff."""
    lines = [
        f"{json.dumps(key)}: [\n" + ",\n".join(json.dumps(case) for case in part) + "\n]"
        if isinstance(part, list)
        else f"{json.dumps(key)}: {json.dumps(part)}"
        for key, part in value.items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    for folder, results in make().items():
        if sys.argv[1:] and folder not in sys.argv[1:]:
            continue
        (TESTS / folder / "golden.json").write_text(dump(results))
