import gzip
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bench.small_images import NAMES, idx_bytes, small_images

from rgo_bench.data import ImageSet


@pytest.fixture
def images() -> ImageSet:
    return small_images()


@pytest.fixture
def idx_files() -> dict[str, bytes]:
    arrays = (part.astype(np.uint8) for part in small_images())
    return dict(zip(NAMES, map(idx_bytes, arrays), strict=True))


@pytest.fixture
def idx_folder(tmp_path: Path, idx_files: dict[str, bytes]) -> Path:
    for name, content in idx_files.items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    return tmp_path


@pytest.fixture
def idx_file(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / "some-idx3-ubyte"
        path.write_bytes(content)
        return path

    return write


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    folder = os.environ.get("RGO_DATA")
    if not folder:
        pytest.skip("RGO_DATA names no folder with the real MNIST")
    return Path(folder)
