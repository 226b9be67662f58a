"""Data of every kind for `wengert.utils.data.DataLoader`: pictures, tables, splits, augmentation.

Optional libraries are imported by the functions that need them; ``pip install 'wengert[images]'``
and so on brings them.
"""

from . import transforms
from .classic import CIFAR10, CIFAR100, MNIST, FashionMNIST, read_idx
from .images import ArrayImages, ImageFolder, read_image, write_image
from .splits import k_fold, train_validation_test_split
from .tables import TableDataset, read_table

__all__ = [
    "ArrayImages",
    "CIFAR10",
    "CIFAR100",
    "FashionMNIST",
    "ImageFolder",
    "MNIST",
    "TableDataset",
    "k_fold",
    "read_idx",
    "read_image",
    "read_table",
    "train_validation_test_split",
    "transforms",
    "write_image",
]
