import gzip
import http.server
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from bench.small_images import NAMES, idx_bytes, small_images

from rgo_bench.data import ImageSet
from rgo_bench.data.cifar100 import find_cifar100
from rgo_bench.data.idx import find_idx_files
from rgo_bench.data.miniimagenet import find_miniimagenet
from rgo_bench.data.places import cache_folder


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


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], str]]:
    """Serves folders at the addresses returned."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ExitStack() as ends:

        def start(folder: Path) -> str:
            handler = partial(QuietHandler, directory=str(folder))
            address = ("127.0.0.1", 0)
            server = http.server.ThreadingHTTPServer(address, handler)
            ends.enter_context(server)
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            ends.callback(thread.join)
            ends.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_address[1]}/"

        yield start


@pytest.fixture
def cache(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """An empty cache of the user, the only place that is looked in."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    monkeypatch.delenv("RGO_DATA", raising=False)
    if home not in cache_folder().parents:
        pytest.skip("the cache of this system cannot be moved by XDG_CACHE_HOME")
    return cache_folder()


def real_data(name: str, find: Callable[[Path], object]) -> Path:
    folder = os.environ.get("RGO_DATA")
    if not folder:
        pytest.skip(f"RGO_DATA names no folder with the real {name}")
    try:
        find(Path(folder))
    except FileNotFoundError:
        pytest.skip(f"the folder that RGO_DATA names has no {name}")
    return Path(folder)


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    return real_data("MNIST", find_idx_files)


@pytest.fixture(scope="session")
def cifar100_folder() -> Path:
    return real_data("CIFAR-100", find_cifar100)


@pytest.fixture(scope="session")
def miniimagenet_folder() -> Path:
    return real_data("miniImageNet", find_miniimagenet)
