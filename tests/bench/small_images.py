import struct

import numpy as np
from numpy.typing import NDArray

from rgo_bench.data import ImageSet

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    header = bytes([0, 0, 0x08, array.ndim])
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def small_images() -> ImageSet:
    draw = np.random.default_rng(3)
    return ImageSet(
        draw.integers(0, 256, (30, 6, 6), dtype=np.uint8),
        np.arange(30) % 10,
        draw.integers(0, 256, (12, 6, 6), dtype=np.uint8),
        np.arange(12) % 10,
    )
