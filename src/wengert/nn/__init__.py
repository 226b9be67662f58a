"""Layers, losses and initialisers under PyTorch's names. A layer only adds operations to the graph."""

from . import functional, init
from .activation import GELU, LeakyReLU, LogSoftmax, ReLU, Sigmoid, SiLU, Softmax, Tanh
from .comparator import Comparator
from .container import ModuleDict, ModuleList, Sequential
from .conv import Conv1d, Conv2d, Conv3d
from .crf import CRF
from .dropout import Dropout
from .embedding import Embedding
from .graph_conv import (
    GATConv,
    GCNConv,
    GINConv,
    GraphBatch,
    SAGEConv,
    batch_graphs,
    segment_max,
    segment_mean,
    segment_softmax,
    segment_sum,
)
from .linear import Flatten, Identity, Linear
from .loss import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, L1Loss, MSELoss, NLLLoss
from .module import Module
from .normalization import BatchNorm1d, BatchNorm2d, LayerNorm
from .parameter import Parameter
from .pooling import MaxPool2d
from .positions import RotaryPositions, SinusoidalPositions, apply_rotary, sinusoidal_positions
from .regularization import (
    ExponentialMovingAverage,
    FocalLoss,
    StochasticDepth,
    cutmix,
    mixup,
    sigmoid_focal_loss,
    stochastic_depth,
)

__all__ = [
    "stochastic_depth",
    "sigmoid_focal_loss",
    "mixup",
    "cutmix",
    "StochasticDepth",
    "FocalLoss",
    "ExponentialMovingAverage",
    "sinusoidal_positions",
    "apply_rotary",
    "SinusoidalPositions",
    "RotaryPositions",
    "Comparator",
    "GATConv",
    "GCNConv",
    "GINConv",
    "GraphBatch",
    "SAGEConv",
    "batch_graphs",
    "segment_max",
    "segment_mean",
    "segment_softmax",
    "segment_sum",
    "CRF",
    "GELU",
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Flatten",
    "Identity",
    "L1Loss",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "ModuleDict",
    "ModuleList",
    "NLLLoss",
    "Parameter",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "functional",
    "init",
]
