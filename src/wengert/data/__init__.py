"""Data of every kind for `wengert.utils.data.DataLoader`: pictures, videos, sounds, texts, graphs and tables.

Optional libraries are imported by the functions that need them; ``pip install 'wengert[images]'``
and so on brings them.
"""

from . import audio, transforms
from .classic import CIFAR10, CIFAR100, MNIST, FashionMNIST, read_idx
from .folders import DatasetFolder
from .graphs import (
    CitationNetwork,
    EdgeList,
    Graph,
    collate_graphs,
    karate_club,
    read_cora,
    read_edge_list,
    split_nodes,
    undirected,
)
from .images import ArrayImages, ImageFolder, read_image, write_image
from .sequences import BucketBatchSampler, PadCollate, PaddedSequences
from .splits import k_fold, train_validation_test_split
from .tables import TableDataset, read_table
from .text import LanguageModelWindows, TextFolder, TextLines, read_topics
from .tokenizers import CharacterTokenizer, SubwordTokenizer, Tokenizer, WordTokenizer
from .video import (
    VideoClips,
    VideoFolder,
    VideoInfo,
    frame_times,
    read_frames,
    read_video,
    video_info,
    write_video,
)
from .vocabulary import Vocabulary

__all__ = [
    "ArrayImages",
    "BucketBatchSampler",
    "CIFAR10",
    "CIFAR100",
    "CharacterTokenizer",
    "CitationNetwork",
    "DatasetFolder",
    "EdgeList",
    "FashionMNIST",
    "Graph",
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
    "VideoClips",
    "VideoFolder",
    "VideoInfo",
    "Vocabulary",
    "WordTokenizer",
    "audio",
    "collate_graphs",
    "frame_times",
    "k_fold",
    "karate_club",
    "read_cora",
    "read_edge_list",
    "read_frames",
    "read_idx",
    "read_image",
    "read_table",
    "read_topics",
    "read_video",
    "split_nodes",
    "train_validation_test_split",
    "transforms",
    "undirected",
    "video_info",
    "write_image",
    "write_video",
]
