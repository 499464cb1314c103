"""Readers of the data sets that the streams are made of."""

from rgo_bench.data.cifar100 import fingerprint_cifar100, load_cifar100
from rgo_bench.data.digits import load_digits
from rgo_bench.data.image_set import ImageSet
from rgo_bench.data.miniimagenet import fingerprint_miniimagenet, load_miniimagenet
from rgo_bench.data.mnist import fingerprint_mnist, load_mnist

__all__ = [
    "ImageSet",
    "fingerprint_cifar100",
    "fingerprint_miniimagenet",
    "fingerprint_mnist",
    "load_cifar100",
    "load_digits",
    "load_miniimagenet",
    "load_mnist",
]
