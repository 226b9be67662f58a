"""Seq2Seq, searches and generation against all sequences, written out."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import nn
from wengert.models import GPT, RNNLanguageModel
from wengert.testing import gradcheck

# --- attention ---------------------------------------------------------------------------------------


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max())
    return e / e.sum()


@pytest.mark.quick(kind=["dot"])
@pytest.mark.parametrize("kind", ["additive", "general", "dot"])
def test_attention_is_the_formula(kind: str) -> None:
    if kind == "additive":
        layer: Any = nn.AdditiveAttention(4, 4, 5, dtype=wg.float64)
    else:
        layer = nn.MultiplicativeAttention(4, 4, kind, dtype=wg.float64)
    query, memory = wg.randn(2, 4, dtype=wg.float64), wg.randn(2, 6, 4, dtype=wg.float64)
    lengths = [6, 3]
    mask = wg.arange(6) < wg.tensor(lengths).unsqueeze(1)
    context, weights = layer(query, memory, mask)
    p = {k: v.numpy() for k, v in layer.state_dict().items()}
    for b, n in enumerate(lengths):
        q, m = query[b].numpy(), memory[b, :n].numpy()
        if kind == "additive":
            hidden = np.tanh(p["query.weight"] @ q + p["query.bias"] + m @ p["memory.weight"].T)
            score = hidden @ p["energy.weight"][0]
        else:
            score = (m @ p["weight.weight"].T if kind == "general" else m) @ q
        np.testing.assert_allclose(weights[b, :n].detach().numpy(), softmax(score), rtol=1e-10)
        np.testing.assert_allclose(context[b].detach().numpy(), softmax(score) @ m, rtol=1e-10)
        assert weights[b, n:].tolist() == [0.0] * (6 - n)
    assert gradcheck(lambda q, m: layer(q, m, mask)[0], (query.requires_grad_(), memory.requires_grad_()))


# --- Seq2Seq -----------------------------------------------------------------------------------------

VOCABULARY, BEGIN, END = 4, 0, 3


def network(attention: str = "bahdanau", scale: float = 3.0) -> nn.Seq2Seq:
    net = nn.Seq2Seq(5, VOCABULARY, 3, 4, attention, dtype=wg.float64)
    with wg.no_grad():
        net.output.weight.mul_(scale)  # far from uniform, so that orders are clear
    return net


SOURCE = wg.tensor([[1, 2, 3, 4], [4, 2, 0, 0]])
MASK = wg.tensor([[True] * 4, [True, True, False, False]])


@pytest.mark.parametrize("attention", ["bahdanau", "luong"])
def test_forward_is_its_steps(attention: str) -> None:
    net = network(attention)
    target = wg.randint(0, VOCABULARY, (2, 5))
    logits = net(SOURCE, target, MASK)
    state = net.encode(SOURCE, MASK)
    for t in range(5):
        step, state = net.step(target[:, t], state)
        assert wg.allclose(logits[:, t], step)
    free = net(SOURCE, target, MASK, teacher_forcing=0.0)
    tokens, state = target[:, 0], net.encode(SOURCE, MASK)
    for t in range(5):
        step, state = net.step(tokens, state)
        assert wg.allclose(free[:, t], step)
        tokens = step.argmax(1)


@pytest.mark.parametrize("attention", ["bahdanau", "luong"])
def test_padding_of_the_source_does_not_matter(attention: str) -> None:
    net = network(attention)
    target = wg.randint(0, VOCABULARY, (2, 3))
    assert wg.allclose(net(SOURCE, target, MASK)[1:], net(SOURCE[1:, :2], target[1:]))


def test_seq2seq_has_a_gradient_everywhere() -> None:
    net = network(scale=1.0)
    net(SOURCE, wg.randint(0, VOCABULARY, (2, 3)), MASK).sum().backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.slow
def test_seq2seq_derivatives() -> None:
    net = network(scale=1.0)
    target = wg.randint(0, VOCABULARY, (2, 3))
    names = ["attention.query.weight", "cell.weight_ih", "target_embedding.weight"]
    own = dict(net.named_parameters())

    def run(*values: Any) -> Any:
        return wg.func.functional_call(net, dict(zip(names, values, strict=True)), (SOURCE, target, MASK)).sin().sum()

    assert gradcheck(run, [own[n].detach().requires_grad_() for n in names])


def test_seq2seq_refuses() -> None:
    with pytest.raises(ValueError, match="attention must be"):
        network("self")
    with pytest.raises(ValueError, match="the source must be"):
        network()(SOURCE[0], SOURCE)


@pytest.mark.slow
def test_seq2seq_learns_to_reverse() -> None:
    net = nn.Seq2Seq(6, 6, 16, 32)
    optimizer = wg.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(150):
        source = wg.randint(2, 6, (32, 4))
        target = wg.cat([wg.zeros(32, 1).long(), source.flip(1)], 1)
        loss = nn.functional.cross_entropy(net(source, target[:, :-1]).flatten(0, 1), target[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    source = wg.randint(2, 6, (50, 4))
    found = net.greedy(source, begin=0, end=1, max_length=4)
    assert (found == source.flip(1)).all(1).float().mean().item() > 0.9


# --- search ------------------------------------------------------------------------------------------


def all_sequences(net: Any, row: int, longest: int, penalty: float) -> list[tuple[float, list[int]]]:
    """Every sequence up to a length, with its rank value, best first."""
    found = []
    for n in range(longest + 1):
        for path in itertools.product(range(VOCABULARY), repeat=n):
            if END in path[:-1] or (n < longest and END not in path[-1:]):
                continue
            state, tokens, total = net.encode(SOURCE[row : row + 1], MASK[row : row + 1]), wg.tensor([BEGIN]), 0.0
            for token in path:
                logits, state = net.step(tokens, state)
                total += wg.log_softmax(logits, 1)[0, token].item()
                tokens = wg.tensor([token])
            found.append((total / n**penalty, [t for t in path if t != END]))
    return sorted(found, reverse=True)


@pytest.mark.slow
@pytest.mark.parametrize("penalty", [0.0, 0.7])
def test_a_wide_beam_finds_the_best_of_all(penalty: float) -> None:
    net = network()
    with wg.no_grad():
        got = net.beam(SOURCE, BEGIN, END, 3, beam=27, length_penalty=penalty, source_mask=MASK)
        for row in range(2):
            want = all_sequences(net, row, 3, penalty)[:27]
            assert [tokens for tokens, _ in got[row]] == [tokens for _, tokens in want]
            assert [v for _, v in got[row]] == pytest.approx([v for v, _ in want])


@pytest.mark.slow
def test_narrow_beams() -> None:
    for seed in range(4):
        wg.manual_seed(seed)
        net = network()
        greedy = net.greedy(SOURCE, BEGIN, END, 5, MASK).tolist()
        with wg.no_grad():
            values = []
            for width in (1, 2, 4):
                found = net.beam(SOURCE, BEGIN, END, 5, width, source_mask=MASK)
                assert all(1 <= len(f) <= width for f in found)
                values.append([f[0][1] for f in found])
            for row in range(2):
                one = net.beam(SOURCE[row : row + 1], BEGIN, END, 5, 2, source_mask=MASK[row : row + 1])[0]
                assert one[0][1] == pytest.approx(values[1][row])
        first = [t for t in greedy[0] if t != END]
        assert net.beam(SOURCE, BEGIN, None, 1, 1, source_mask=MASK)[0][0][0] == greedy[0][:1]
        assert len(first) <= 5


def test_search_refuses() -> None:
    with pytest.raises(ValueError, match="length_penalty must not be negative"):
        nn.beam_search(lambda t, s: (t, s), wg.tensor([0]), (), 3, length_penalty=-1)
    with pytest.raises(ValueError, match="beam must be at least 1"):
        nn.beam_search(lambda t, s: (t, s), wg.tensor([0]), (), 3, beam=0)
    assert nn.greedy_search(lambda t, s: (t, s), wg.tensor([0]), (), 0).shape == (1, 0)


# --- generation --------------------------------------------------------------------------------------


def small_gpt() -> Any:
    wg.manual_seed(0)
    gpt = GPT(7, block_size=8, layers=2, heads=2, width=8).double()
    with wg.no_grad():
        for p in gpt.parameters():
            p.mul_(8.0)  # sharp, so that the greedy choice is far from ties
    return gpt


@pytest.mark.quick(options=[{"temperature": 0}])
@pytest.mark.parametrize("options", [{"temperature": 0}, {"temperature": 0.8, "top_k": 4}, {"top_p": 0.9}])
def test_cache_changes_nothing(options: dict[str, Any]) -> None:
    gpt, prompt = small_gpt(), wg.tensor([[1, 2, 3], [4, 5, 6]])
    found = []
    for cache in (True, False):
        wg.manual_seed(5)
        found.append(nn.generate(gpt, prompt, 12, cache=cache, **options).tolist())
    assert found[0] == found[1]
    assert len(found[0][0]) == 15 and found[0][0][:3] == [1, 2, 3]
    assert gpt.training


def test_generation_leaves_each_part_in_its_mode() -> None:
    """A part that is in evaluation mode for good, such as a frozen norm, must not begin to train."""
    gpt = small_gpt()
    gpt.drop.eval()
    rnn = RNNLanguageModel(7, 4, 4)
    rnn.dropout.eval()
    for model in (gpt, rnn):
        before = [module.training for module in model.modules()]
        model.generate(wg.tensor([[1, 2]]), 3)
        assert [module.training for module in model.modules()] == before
        assert model.generate(wg.zeros(0, 2).long(), 3).shape == (0, 5)


@pytest.mark.slow
def test_cached_logits_are_the_logits() -> None:
    gpt, tokens = small_gpt(), wg.randint(0, 7, (2, 8))
    cache, parts = nn.KVCache(), []
    for a, b in ((0, 3), (3, 4), (4, 8)):
        parts.append(gpt(tokens[:, a:b], cache=cache))
    assert wg.allclose(wg.cat(parts, 1), gpt(tokens))
    changed = wg.cat([tokens[:, :5], (tokens[:, 5:] + 1) % 7], 1)
    assert wg.allclose(gpt(changed)[:, :5], gpt(tokens)[:, :5])  # what comes later is not seen


def test_greedy_generation_takes_the_largest() -> None:
    gpt, tokens = small_gpt(), wg.tensor([[3]])
    got = nn.generate(gpt, tokens, 5, temperature=0)
    for _ in range(5):
        tokens = wg.cat([tokens, gpt(tokens)[:, -1:].argmax(-1)], 1)
    assert wg.equal(got, tokens)
    end = int(got[0, 3])
    stopped = nn.generate(gpt, wg.tensor([[3]]), 5, temperature=0, end=end)
    assert stopped[0, -1].item() == end and stopped.shape[1] <= 4


def test_sampling_probabilities() -> None:
    logits = wg.randn(50, 9, dtype=wg.float64)
    p = softmax
    for row, got in zip(logits.numpy(), nn.sampling_probabilities(logits, 0.5, 4, 0.8).numpy(), strict=True):
        full = p(row / 0.5)
        full[np.argsort(-full)[4:]] = 0
        full /= full.sum()
        kept, total = [], 0.0
        for i in np.argsort(-full):
            if total >= 0.8:
                break
            kept.append(i)
            total += full[i]
        want = np.zeros(9)
        want[kept] = full[kept] / total
        np.testing.assert_allclose(got, want, atol=1e-12)
    np.testing.assert_allclose(nn.sampling_probabilities(logits).numpy()[0], p(logits.numpy()[0]))
    assert wg.equal(nn.sampling_probabilities(logits, top_p=1e-9), nn.sampling_probabilities(logits, 0))
    assert wg.equal(nn.sampling_probabilities(logits, top_k=99), nn.sampling_probabilities(logits))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": -1}, "temperature must not be negative"),
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"top_p": 0.0}, "top_p must be above 0"),
    ],
)
def test_generation_refuses(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        nn.generate(small_gpt(), wg.tensor([[1]]), 2, **options)
    with pytest.raises(ValueError, match="the prompt must be"):
        nn.generate(small_gpt(), wg.zeros(1, 0).long(), 2)
