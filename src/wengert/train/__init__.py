"""``wengert.train``: a trainer with callbacks, metrics, logs, checkpoints and exact resume."""

from .callbacks import BestCheckpoint, Callback, EarlyStopping
from .history import History
from .loggers import CSVLogger, JSONLogger, TensorBoardLogger
from .lr_finder import RateSearch
from .metrics import (
    F1,
    R2,
    Accuracy,
    ConfusionMatrix,
    MeanAbsoluteError,
    MeanSquaredError,
    Metric,
    Perplexity,
    Precision,
    Recall,
    TopKAccuracy,
)
from .progress import Progress
from .rng import seed_everything
from .trainer import Trainer

__all__ = [
    "Trainer", "History", "RateSearch", "Progress", "seed_everything", "Callback", "EarlyStopping", "BestCheckpoint",
    "CSVLogger", "JSONLogger", "TensorBoardLogger", "Metric", "Accuracy", "TopKAccuracy", "ConfusionMatrix",
    "Precision", "Recall", "F1", "MeanAbsoluteError", "MeanSquaredError", "R2", "Perplexity",
]  # fmt: skip
