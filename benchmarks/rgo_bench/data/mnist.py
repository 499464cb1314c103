"""MNIST: from a folder, from the user's cache, or from the network."""

from collections.abc import Mapping
from pathlib import Path

from rgo_bench.data.download import download
from rgo_bench.data.fingerprint import content_fingerprint
from rgo_bench.data.idx import FILES, find_idx_files, read_idx_files
from rgo_bench.data.image_set import ImageSet
from rgo_bench.data.places import cache_folder, locate, place_advice

MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
SHA256 = {
    "train-images-idx3-ubyte.gz": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
    ),
    "train-labels-idx1-ubyte.gz": (
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
    ),
}


def load_mnist(data: Path | None = None) -> ImageSet:
    """Read MNIST's images (N, 28, 28), or another image set in four such IDX files.

    A folder holds the four files itself or in a subfolder ``mnist``, or where
    torchvision puts them, ``MNIST/raw``. If given, `data` is the only folder to look
    in. Else they are looked for in the folder that the environment variable
    ``RGO_DATA`` names, then in the user's cache, and are then downloaded into that
    cache. Fashion-MNIST and other sets of the same form may stand in their place: only
    downloads are compared with MNIST's checksums.
    """
    files = locate(find_idx_files, data)
    return read_idx_files(files or download_mnist(cache_folder()))


def fingerprint_mnist(folder: Path) -> str:
    """Return eight characters that tell a folder of other images apart."""
    return content_fingerprint(find_idx_files(folder))


def download_mnist(
    folder: Path, *, mirror: str = MIRROR, checksums: Mapping[str, str] = SHA256
) -> dict[str, Path]:
    """Download each of `FILES`, compressed, into a subfolder ``mnist``."""
    names = "\n".join(f"  {name}.gz" for name in FILES)
    files = f"these four files (with or without .gz)\n{names}"
    advice = (
        f"MNIST is not on this machine and could not be downloaded from {mirror}\n"
        f"{place_advice(files, folder / 'mnist')}"
    )
    return {
        name: download(
            f"{mirror}{name}.gz",
            folder / "mnist" / f"{name}.gz",
            checksum=f"sha256:{checksums[f'{name}.gz']}",
            advice=advice,
        )
        for name in FILES
    }
