"""Whole networks: what the lectures show, built from the layers of `wengert.nn`."""

from ..nn import Comparator, Seq2Seq
from .autoencoder import VAE, Autoencoder
from .gpt import GPT
from .graphs import GAT, GCN
from .media import SpectrogramNet, VideoNet
from .resnet import BasicBlock, ResNet, ResNetCIFAR, plain34, resnet18, resnet20, resnet34
from .stacks import (
    VGG,
    AlexNet,
    alexnet,
    vgg11,
    vgg11_bn,
    vgg13,
    vgg13_bn,
    vgg16,
    vgg16_bn,
    vgg19,
    vgg19_bn,
)
from .text import LSTMTagger, RNNLanguageModel, Seq2SeqTransformer
from .vision import MLP, LeNet
from .vit import VisionTransformer, vit_b_16

__all__ = [
    "GAT", "GCN", "GPT", "MLP", "VAE", "VGG", "AlexNet", "Autoencoder", "BasicBlock", "Comparator", "LSTMTagger",
    "LeNet", "RNNLanguageModel", "ResNet", "ResNetCIFAR", "Seq2Seq", "Seq2SeqTransformer", "SpectrogramNet",
    "VideoNet", "VisionTransformer", "alexnet", "plain34", "resnet18", "resnet20", "resnet34", "vgg11", "vgg11_bn",
    "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn", "vit_b_16",
]  # fmt: skip
