"""Readers of the data sets that the streams are made of."""

from rgo_bench.data.digits import load_digits
from rgo_bench.data.idx import read_idx
from rgo_bench.data.image_set import ImageSet
from rgo_bench.data.mnist import load_mnist

__all__ = ["ImageSet", "load_digits", "load_mnist", "read_idx"]
