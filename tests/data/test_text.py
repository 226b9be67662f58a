"""Texts: vocabularies, tokenizers, padding, buckets, windows, files."""

from __future__ import annotations

import json
import pickle
import re
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

import wengert as wg
from wengert import data
from wengert.data import Vocabulary
from wengert.utils.data import DataLoader, RandomSampler

TEXT = data.read_topics()
TEXTS = TEXT.split("\n\n")[:400]


def generator(seed: int = 0) -> Any:
    return wg.Generator().manual_seed(seed)


# --- vocabularies --------------------------------------------------------------------------------------


def test_frequencies_decide() -> None:
    built = Vocabulary.build(["abracadabra", "cb"])
    assert built.tokens == ["<pad>", "<unk>", "<bos>", "<eos>", "a", "b", "c", "r", "d"]  # b before r: both twice
    assert Counter("abracadabracb").most_common(1) == [("a", 5)]
    assert Vocabulary.build(["abracadabra", "cb"], min_freq=3).tokens[4:] == ["a", "b"]
    assert len(Vocabulary.build(["abracadabra"], max_size=6)) == 6
    assert len(Vocabulary.build(["abracadabra"], max_size=6, bos=None, eos=None)) == 6
    assert Vocabulary.build([["<pad>", "x", "x"]]).tokens.count("<pad>") == 1


def test_numbers_and_back() -> None:
    vocabulary = Vocabulary(["x", "y"])
    assert (vocabulary["x"], vocabulary["?"], "?" in vocabulary, "y" in vocabulary) == (4, 1, False, True)
    assert vocabulary.encode("xyz", bos=True, eos=True) == [2, 4, 5, 1, 3]
    assert vocabulary.decode(wg.tensor([2, 4, 1, 3, 0, 0])) == ["x", "<unk>"]
    assert vocabulary.decode([2, 4, 0], specials=True) == ["<bos>", "x", "<pad>"]
    bare = Vocabulary(["x"], pad=None, unk=None, bos=None, eos=None)
    assert bare.tokens == list(bare) == ["x"] and bare.encode([]) == []
    assert Vocabulary([], bos="[CLS]").specials == {"pad": "<pad>", "unk": "<unk>", "bos": "[CLS]", "eos": "<eos>"}


@pytest.mark.parametrize("specials", [{}, {"unk": None}, {"pad": "_", "bos": None, "eos": None}])
def test_a_vocabulary_is_saved(tmp_path: Path, specials: Any) -> None:
    vocabulary = Vocabulary(["ä", "\n", '"', "\ud800"], **specials)
    vocabulary.save(tmp_path / "v.json")
    again = Vocabulary.load(tmp_path / "v.json")
    assert again == vocabulary and again.specials == vocabulary.specials and again.encode(["ä"]) == [len(again) - 4]
    assert pickle.loads(pickle.dumps(vocabulary)) == vocabulary
    assert again != Vocabulary(["ä"], **specials)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"format": "wengert.vocabulary", "version": 2, "tokens": []}']
    + [f'{{"format": "wengert.vocabulary", "version": 1, {rest}}}' for rest in (
        '"pad": "p", "unk": null, "bos": null, "eos": null, "tokens": []',
        '"pad": null, "unk": null, "bos": null, "eos": null, "tokens": [1]',
        '"pad": null, "unk": null, "bos": null, "tokens": []',
    )],
)  # fmt: skip
def test_what_is_no_vocabulary(tmp_path: Path, content: str) -> None:
    (tmp_path / "v.json").write_text(content)
    with pytest.raises(ValueError, match=r"Vocabulary\.load: not a vocabulary: .*v\.json"):
        Vocabulary.load(tmp_path / "v.json")


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Vocabulary(["a", "b", "a"]), ValueError, "a token is there twice: 'a'"),
        (lambda: Vocabulary(["<unk>"]), ValueError, "a token is there twice: '<unk>'"),
        (lambda: Vocabulary([1]), ValueError, "tokens must be strings: 1"),  # type: ignore[list-item]
        (lambda: Vocabulary(["a"], unk=None)["b"], ValueError, "the token is not known: 'b'. Give the vocabulary"),
        (lambda: Vocabulary([], bos=None).encode([], bos=True), ValueError, "there is no bos token"),
        (lambda: Vocabulary([]).decode([4]), IndexError, "numbers go from 0 to 3: 4"),
        (lambda: Vocabulary([]).decode([-1]), IndexError, "numbers go from 0 to 3: -1"),
        (lambda: Vocabulary.build([], min_freq=0), ValueError, "min_freq must be at least 1: 0"),
        (lambda: Vocabulary.build([], max_size=3), ValueError, "max_size has no room for tokens: 3"),
    ],
)
def test_vocabularies_refuse(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        make()


# --- tokenizers ----------------------------------------------------------------------------------------


def test_characters() -> None:
    tokenizer = data.CharacterTokenizer.train([TEXT])
    assert len(tokenizer) == len(set(TEXT)) + 4
    assert tokenizer.decode(tokenizer.encode(TEXT, bos=True, eos=True)) == TEXT
    assert tokenizer.decode(wg.tensor(tokenizer("aé"))) == "a<unk>"


def test_words() -> None:
    tokenizer = data.WordTokenizer.train(["A well-known cat's 3.5 lives (or nine).  Ünlü\n"], lower=True)
    tokens = ["a", "well-known", "cat's", "3.5", "lives", "(", "or", "nine", ")", ".", "ünlü"]
    assert sorted(tokenizer.vocabulary.tokens[4:]) == sorted(tokens)
    text = "a well-known cat's 3.5 lives (or nine). ünlü"
    assert tokenizer.split(text.upper()) == tokens
    assert tokenizer.decode(tokenizer.encode(text.upper())) == text
    assert tokenizer.decode(tokenizer.encode("a dog")) == "a <unk>"
    assert data.WordTokenizer(Vocabulary(["A"])).split("A b") == ["A", "b"]


@pytest.mark.parametrize(
    ("text", "words"),
    [("हिन्दी भाषा।", ["हिन्दी", "भाषा", "।"]), ("e\u0301te\u0301, o\u0308l", ["e\u0301te\u0301", ",", "o\u0308l"]),
     ("ที่นี่ ดี", ["ที่นี่", "ดี"]), ("می\u200cخواهم", ["می\u200cخواهم"]), ("你好 мир", ["你好", "мир"])],
)  # fmt: skip
def test_marks_belong_to_words(text: str, words: list[str]) -> None:
    """Vowels of Hindi and Thai and accents by themselves are no letters to the module re."""
    tokenizer = data.WordTokenizer.train([text])
    assert tokenizer.split(text) == words


@pytest.mark.parametrize("kind", [data.WordTokenizer, data.SubwordTokenizer])
def test_one_text_is_not_several(kind: Any) -> None:
    """Its letters would be learned, without a word."""
    with pytest.raises(ValueError, match=rf"{kind.__name__}: needs several texts, not one: 'hello world'\. Put it in"):
        kind.train("hello world")


@pytest.fixture(scope="module")
def bpe() -> Any:
    return data.SubwordTokenizer.train(TEXTS, 600)


@pytest.fixture(scope="module")
def word_piece() -> Any:
    return data.SubwordTokenizer.train(TEXTS, 600, "wordpiece", lower=True)


@pytest.mark.slow
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_bpe_gives_every_text_back(bpe: Any, text: str) -> None:
    assert bpe.decode(bpe.encode(text, bos=True, eos=True)) == text
    assert bpe.join(bpe.split(text)) == text


def test_bpe_is_the_merging_of_frequent_pairs() -> None:
    """Against Sennrich's algorithm, written out."""
    words = {"hug": 10, "pug": 5, "pun": 12, "bun": 4, "hugs": 5}
    texts = [word for word, count in words.items() for _ in range(count)]
    merges, split = [], {word: tuple(word) for word in words}
    for _ in range(3):
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in words.items():
            for pair in zip(split[word], split[word][1:], strict=False):
                pairs[pair] += count
        best = max(pairs, key=lambda pair: pairs[pair])
        merges.append("".join(best))
        split = {word: tuple("\0".join(pieces).replace("\0".join(best), "".join(best)).split("\0"))
                 for word, pieces in split.items()}  # fmt: skip
    tokenizer = data.SubwordTokenizer.train(texts, 4 + 256 + 3)
    assert tokenizer.vocabulary.tokens[-3:] == merges == ["ug", "un", "hug"]
    assert {word: tuple(tokenizer.split(word)) for word in words} == split


def test_word_pieces(word_piece: Any) -> None:
    pieces = word_piece.split("Classesz")
    assert pieces[0] == "classes" and pieces[1:] == ["##z"]
    assert word_piece.decode(word_piece.encode("The classes")) == "the classes"
    assert word_piece.encode("你") == [1]


@pytest.mark.parametrize("kind", ["bpe", "word_piece"])
def test_subwords_are_saved(tmp_path: Path, request: pytest.FixtureRequest, kind: str) -> None:
    tokenizer = request.getfixturevalue(kind)
    assert len(tokenizer) == 600 and tokenizer.vocabulary.tokens[:4] == ["<pad>", "<unk>", "<bos>", "<eos>"]
    tokenizer.save(tmp_path / "t.json")
    assert json.loads((tmp_path / "t.json").read_text())["model"]["type"] == {"bpe": "BPE"}.get(kind, "WordPiece")
    numbers = tokenizer.encode("the <eos> is text", bos=True, eos=True)
    assert numbers.count(3) == 1 and numbers[0] == 2
    for again in (data.SubwordTokenizer.load(tmp_path / "t.json"), pickle.loads(pickle.dumps(tokenizer))):
        assert again.encode("the <eos> is text", True, True) == numbers
        assert again.vocabulary == tokenizer.vocabulary
    assert tokenizer.encode_batch(["the <eos> is text", ""], bos=True, eos=True) == [numbers, [2, 3]]
    assert data.SubwordTokenizer.load(tmp_path / "t.json", pad="[PAD]").vocabulary.pad_index is None


def test_a_file_that_pads_and_cuts(tmp_path: Path, word_piece: Any) -> None:
    """As published ones may do, with special tokens around."""
    library = tokenizers.Tokenizer.from_str(word_piece.inner.to_str())
    library.enable_padding(length=12)
    library.enable_truncation(3)
    library.post_processor = tokenizers.processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 2), ("<eos>", 3)]
    )
    assert len(library.encode("the class statement").ids) == 12
    library.save(str(tmp_path / "t.json"))
    again = data.SubwordTokenizer.load(tmp_path / "t.json")
    for text in ("the", "the class statement is the class statement"):
        assert again.encode(text, bos=True) == word_piece.encode(text, bos=True)
        assert again.encode_batch([text]) == [word_piece.encode(text)] and again.split(text) == word_piece.split(text)


def test_subwords_refuse(tmp_path: Path, bpe: Any) -> None:
    for content in (b"", b"{}", b"[1", b'{"\xe4": 1}'):
        (tmp_path / "t.json").write_bytes(content)
        with pytest.raises(ValueError, match=r"SubwordTokenizer\.load: not a tokenizer: .*t\.json"):
            data.SubwordTokenizer.load(tmp_path / "t.json")
    with pytest.raises(ValueError, match="model must be 'bpe' or 'wordpiece': 'words'"):
        data.SubwordTokenizer.train([], model="words")
    with pytest.raises(ValueError, match="vocab_size must be at least 260: 100"):
        data.SubwordTokenizer.train([], 100)
    with pytest.raises(IndexError, match="numbers go from 0 to 599: 600"):
        bpe.decode([600])
    with pytest.raises(NotImplementedError, match="Tokenizer does not define split"):
        data.Tokenizer().split("a")
    with pytest.raises(NotImplementedError, match="Tokenizer does not define join"):
        data.Tokenizer().join("a")


# --- padding and buckets -------------------------------------------------------------------------------


class Pair(NamedTuple):
    source: Any
    target: Any


def test_padding() -> None:
    padded, names = data.PadCollate()([([1, 2, 3], "a"), ([], "b"), ([4], "c")])
    assert padded.data.tolist() == [[1, 2, 3], [0, 0, 0], [4, 0, 0]] and padded.data.dtype == wg.int64
    assert padded.lengths.tolist() == [3, 0, 1] and names == ["a", "b", "c"]
    assert padded.mask.tolist() == [[True] * 3, [False] * 3, [True, False, False]]
    rows = data.PadCollate(-1.5)([wg.ones(1, 2), wg.zeros(2, 2)])
    assert rows.data.tolist() == [[[1, 1], [-1.5, -1.5]], [[0, 0], [0, 0]]]
    floats = data.PadCollate()([[0.5], [1.0, 2.0]])
    assert floats.data.dtype == wg.float32 and floats.data.tolist() == [[0.5, 0], [1, 2]]
    pair = data.PadCollate((0, -100))([Pair(np.array([1]), [2, 3]), Pair(np.array([4, 5]), [6])])
    assert pair.source.data.tolist() == [[1, 0], [4, 5]] and pair.target.data.tolist() == [[2, 3], [6, -100]]
    named = data.PadCollate({"x": 7, "y": 0})([{"x": [1], "y": 2}, {"x": [1, 2], "y": 3}])
    assert named["x"].data.tolist() == [[1, 7], [1, 2]] and named["y"].tolist() == [2, 3]
    listed = data.PadCollate()([[wg.ones(2), 1], [wg.ones(3), 2]])
    assert listed[0].lengths.tolist() == [2, 3] and listed[1].tolist() == [1, 2]


def test_packing() -> None:
    packed, labels = data.PadCollate(pack=True)([([1, 2], 0), ([3, 4, 5], 1)])
    assert packed.data.tolist() == [3, 1, 4, 2, 5] and packed.batch_sizes.tolist() == [2, 2, 1]
    rnn, embed = wg.nn.GRU(3, 4), wg.nn.Embedding(6, 3)
    _, last = rnn(packed._replace(data=embed(packed.data)))
    _, alone = rnn(embed(wg.tensor([[1], [2]])))
    np.testing.assert_allclose(last[:, 0].detach().numpy(), alone[:, 0].detach().numpy(), rtol=1e-6)
    assert labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: data.PadCollate()([]), "the batch is empty"),
        (lambda: data.PadCollate()([(1, 2), (1,)]), "different numbers of parts: [1, 2]"),
        (lambda: data.PadCollate((0,))([([1], [2])]), "no value for a part of the samples: part 1 of"),
        (lambda: data.PadCollate((0,))([[1]]), "no value for a part of the samples: part None of"),
        (lambda: data.PadCollate(0.5)([[1, 2], [3]]), "padding_value of integer sequences must be an integer: 0.5"),
        (lambda: data.PadCollate(float("nan"))([wg.tensor([1])]), "padding_value of integer sequences must be an int"),
        (lambda: data.PadCollate()([np.array(["a"])]), "sequences must hold numbers: <U1"),
        (lambda: data.BucketBatchSampler([1], 0), "batch_size must be a positive integer: 0"),
        (lambda: data.BucketBatchSampler([1], 1, pool=True), "pool must be a positive integer: True"),
        (lambda: data.BucketBatchSampler([[1]], 1), "needs one length a sample: (1, 1)"),
    ],
)
def test_batches_refuse(make: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=re.escape(words)):
        make()


def padding(batches: Any, lengths: Any) -> int:
    return sum(max(lengths[i] for i in batch) * len(batch) for batch in batches) - int(sum(lengths))


@pytest.mark.parametrize("drop_last", [False, True])
def test_buckets(drop_last: bool) -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 1003)
    sampler = data.BucketBatchSampler(lengths, 8, drop_last=drop_last, pool=20, generator=generator())
    first, second = list(sampler), list(sampler)
    assert len(first) == len(second) == len(sampler) == 1003 // 8 + (not drop_last)
    assert first != second
    for batches in (first, second):
        seen = [i for batch in batches for i in batch]
        assert len(set(seen)) == len(seen) == (1000 if drop_last else 1003)
        assert sorted(map(len, batches)) == ([8] * 125 if drop_last else [3] + [8] * 125)
        plain = [list(range(1003))[i : i + 8] for i in range(0, 1003, 8)]
        assert padding(batches, lengths) < 0.15 * padding(plain, lengths)
        assert [max(lengths[batch]) for batch in batches] != sorted(max(lengths[batch]) for batch in batches)
    assert list(data.BucketBatchSampler(lengths, 8, drop_last=drop_last, pool=20, generator=generator())) == first


def test_buckets_in_order_and_empty() -> None:
    assert list(data.BucketBatchSampler([3, 1, 2, 1], 3, shuffle=False)) == [[1, 3, 2], [0]]
    assert list(data.BucketBatchSampler([3, 1, 2, 1], 3, shuffle=False, drop_last=True)) == [[1, 3, 2]]
    assert list(data.BucketBatchSampler([], 3)) == [] and len(data.BucketBatchSampler([], 3)) == 0


@pytest.mark.parametrize("own", [False, True])
def test_buckets_are_resumed(own: bool) -> None:
    texts = [[i] * (1 + i % 7) for i in range(40)]

    def make() -> DataLoader:
        sampler = data.BucketBatchSampler([len(t) for t in texts], 4, pool=3, generator=generator(5) if own else None)
        return DataLoader(texts, batch_sampler=sampler, collate_fn=data.PadCollate())

    loader = make()
    batches = iter(loader)
    for _ in range(3):
        next(batches)
    state, rng = loader.state_dict(), wg.get_rng_state()
    rest = [batch.data.tolist() for batch in batches] + [batch.data.tolist() for batch in loader]
    again = make()
    again.load_state_dict(state)
    wg.set_rng_state(rng)
    assert [batch.data.tolist() for batch in again] + [batch.data.tolist() for batch in again] == rest


def test_padded_batches_come_from_workers(bpe: Any) -> None:
    def batches(workers: int) -> list[Any]:
        lines = [text.replace("\n", " ") for text in TEXTS[:50]]
        dataset = [(line, len(line)) for line in lines]
        sampler = data.BucketBatchSampler([n for _, n in dataset], 8, generator=generator())

        def collate(samples: Any) -> Any:
            return data.PadCollate()([(bpe.encode(text), n) for text, n in samples])

        loader = DataLoader(dataset, batch_sampler=sampler, num_workers=workers, collate_fn=collate)
        return [(inputs.data.tolist(), inputs.lengths.tolist(), n.tolist()) for inputs, n in loader]

    assert batches(2) == batches(0)


# --- data sets -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [wg.tensor, list, lambda x: np.asarray(x, np.uint16)], ids=["tensor", "list", "u16"])
@pytest.mark.parametrize(("length", "stride"), [(3, None), (3, 1), (4, 7), (9, 2)])
def test_windows(kind: Any, length: int, stride: int | None) -> None:
    row = np.random.default_rng(0).integers(0, 60000, 10).tolist()
    windows = data.LanguageModelWindows(kind(row), length, stride)
    wanted = [(row[i : i + length], row[i + 1 : i + length + 1]) for i in range(0, 10 - length, stride or length)]
    assert [(x.tolist(), y.tolist()) for x, y in windows] == wanted and len(windows) == len(wanted)
    assert windows[-1][0].tolist() == wanted[-1][0] and windows[0][1].dtype == wg.int64
    with pytest.raises(IndexError, match=rf"there are {len(wanted)} windows: {len(wanted)}"):
        windows[len(wanted)]


def test_windows_of_a_file(tmp_path: Path) -> None:
    numbers = np.arange(1000, dtype=np.uint16)
    numbers.tofile(tmp_path / "text.bin")
    windows = data.LanguageModelWindows(np.memmap(tmp_path / "text.bin", np.uint16, "r"), 10, stride=1)
    assert isinstance(windows.tokens, np.memmap)
    loader = DataLoader(windows, 4, sampler=RandomSampler(windows, num_samples=16), num_workers=1)
    seen = list(loader)
    assert len(seen) == 4 and all((x + 1 == y).all() and x.shape == (4, 10) for x, y in seen)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([1, 2], 2), "the text is shorter than a window and one more: 2 tokens, length=2"),
        (([1, 2], 0), "length and stride must be positive: length=0, stride=0"),
        (([1, 2], 1, 0), "length and stride must be positive: length=1, stride=0"),
        (([1.5, 2], 1), "needs a row of integers: float64 (2,)"),
        (([[1, 2]], 1), "needs a row of integers: int64 (1, 2)"),
    ],
)
def test_windows_refuse(arguments: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=re.escape(words)):
        data.LanguageModelWindows(*arguments)


def test_lines(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("äöü\r\n\nlast".encode())
    lines = data.TextLines(tmp_path / "a.txt")
    assert list(lines) == ["äöü", "", "last"] and len(lines) == 3 and lines[-1] == "last"
    (tmp_path / "b.txt").write_bytes(b"")
    assert len(data.TextLines(tmp_path / "b.txt")) == 0
    (tmp_path / "c.txt").write_bytes("gut\nä\n".encode("latin-1"))
    assert data.TextLines(tmp_path / "c.txt", str.upper, "latin-1")[1] == "Ä"
    with pytest.raises(ValueError, match=r"TextLines: not in the encoding utf-8: .*c\.txt, line 2"):
        data.TextLines(tmp_path / "c.txt")[1]
    with pytest.raises(IndexError, match=r"c\.txt has 2 lines: 2"):
        data.TextLines(tmp_path / "c.txt")[2]
    with pytest.raises(FileNotFoundError):
        data.TextLines(tmp_path / "d.txt")


def test_folders(tmp_path: Path) -> None:
    for name, text in {"neg/1.txt": "bad", "pos/a/1.txt": "good", "pos/2.txt": "great", "pos/3.md": "?"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    texts = data.TextFolder(tmp_path, transform=str.upper)
    assert list(texts) == [("BAD", 0), ("GREAT", 1), ("GOOD", 1)] and texts.classes == ["neg", "pos"]
    assert pickle.loads(pickle.dumps(texts))[1] == ("GREAT", 1)
    assert len(data.DatasetFolder(tmp_path, str)) == 4
    (tmp_path / "neg" / "1.txt").write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"TextFolder: not in the encoding utf-8: .*1\.txt"):
        texts[0]


def test_the_topics() -> None:
    assert read_twice() and TEXT.isascii() and len(TEXT) > 300_000
    paragraphs = TEXT.split("\n\n")
    assert len(set(paragraphs)) > 0.99 * len(paragraphs)


def read_twice() -> bool:
    return data.read_topics() == TEXT
