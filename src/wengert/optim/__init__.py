"""Optimizers and learning-rate schedules under PyTorch's names."""

from . import lr_scheduler, swa_utils
from .adagrad import Adagrad
from .adam import Adam, AdamW
from .adaptive import Adadelta, Adamax, NAdam, RAdam, SparseAdam
from .layerwise import LAMB, Adafactor, Muon
from .lbfgs import LBFGS
from .minimize import minimize
from .optimizer import Optimizer, register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from .resilient import ASGD, Lion, Rprop
from .rmsprop import RMSprop
from .sgd import SGD

__all__ = [
    "ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "LAMB", "LBFGS", "Lion", "Muon", "NAdam",
    "Optimizer", "RAdam", "RMSprop", "Rprop", "SGD", "SparseAdam", "lr_scheduler", "minimize",
    "register_optimizer_step_post_hook", "register_optimizer_step_pre_hook", "swa_utils",
]  # fmt: skip
