"""Data of every kind for `wengert.utils.data.DataLoader`: pictures, texts, tables, splits, augmentation.

Optional libraries are imported by the functions that need them; ``pip install 'wengert[images]'``
and so on brings them.
"""

from . import audio, transforms
from .classic import CIFAR10, CIFAR100, MNIST, FashionMNIST, read_idx
from .folders import DatasetFolder
from .images import ArrayImages, ImageFolder, read_image, write_image
from .sequences import BucketBatchSampler, PadCollate, PaddedSequences
from .splits import k_fold, train_validation_test_split
from .tables import TableDataset, read_table
from .text import LanguageModelWindows, TextFolder, TextLines, read_topics
from .tokenizers import CharacterTokenizer, SubwordTokenizer, Tokenizer, WordTokenizer
from .vocabulary import Vocabulary

__all__ = [
    "ArrayImages",
    "BucketBatchSampler",
    "CIFAR10",
    "CIFAR100",
    "CharacterTokenizer",
    "DatasetFolder",
    "FashionMNIST",
    "ImageFolder",
    "LanguageModelWindows",
    "MNIST",
    "PadCollate",
    "PaddedSequences",
    "SubwordTokenizer",
    "TableDataset",
    "TextFolder",
    "TextLines",
    "Tokenizer",
    "Vocabulary",
    "WordTokenizer",
    "audio",
    "k_fold",
    "read_idx",
    "read_image",
    "read_table",
    "read_topics",
    "train_validation_test_split",
    "transforms",
    "write_image",
]
