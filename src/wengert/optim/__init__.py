"""Optimizers and learning-rate schedules under PyTorch's names."""

from . import lr_scheduler
from .adagrad import Adagrad
from .adam import Adam, AdamW
from .adaptive import Adadelta, Adamax, NAdam, RAdam, SparseAdam
from .layerwise import LAMB, Adafactor, Muon
from .lbfgs import LBFGS
from .optimizer import Optimizer
from .resilient import ASGD, Lion, Rprop
from .rmsprop import RMSprop
from .sgd import SGD

__all__ = [
    "ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "LAMB", "LBFGS", "Lion", "Muon", "NAdam",
    "Optimizer", "RAdam", "RMSprop", "Rprop", "SGD", "SparseAdam", "lr_scheduler",
]  # fmt: skip
