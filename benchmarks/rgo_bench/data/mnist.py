"""MNIST: from a folder, from the user's cache, or from the network."""

import os
from collections.abc import Mapping
from pathlib import Path

import platformdirs

from rgo_bench.data.idx_folder import (
    FILES,
    find_idx_files,
    missing_files,
    read_idx_files,
)
from rgo_bench.data.image_set import ImageSet

ENVIRONMENT_VARIABLE = "RGO_DATA"
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
    """Read MNIST, or another image set in its four IDX files.

    A folder holds the four files itself or in a subfolder ``mnist``. Without `data`
    the files are looked for in the folder that the environment variable ``RGO_DATA``
    names, then in the user's cache, and are then downloaded into that cache.

    Parameters
    ----------
    data : Path, optional
        The only folder to look in. Fashion-MNIST and other sets of the same form
        may stand there: only downloads are compared with MNIST's checksums.

    Returns
    -------
    ImageSet
        Images of shape ``(N, 28, 28)`` for MNIST.

    Raises
    ------
    FileNotFoundError
        If `data` lacks a file, or the files are nowhere and cannot be downloaded.
    ValueError
        If a file is not a good IDX file.
    """
    if data is not None:
        files = find_idx_files(data)
        missing = missing_files(files)
        if missing:
            raise FileNotFoundError(
                f"{data}: expected the four IDX files of an image set (with or "
                f"without .gz) here or in {data / 'mnist'}, got no "
                f"{', no '.join(missing)}"
            )
        return read_idx_files(files)
    for folder in _default_folders():
        files = find_idx_files(folder)
        if not missing_files(files):
            return read_idx_files(files)
    return read_idx_files(download_mnist(cache_folder()))


def cache_folder() -> Path:
    """Return the folder of the user's cache that holds downloaded data."""
    return Path(platformdirs.user_cache_dir("rgo"))


def download_mnist(
    folder: Path, *, mirror: str = MIRROR, checksums: Mapping[str, str] = SHA256
) -> dict[str, Path]:
    """Download the four files into the subfolder ``mnist`` of a folder.

    A file that is there already with the right checksum is not loaded again, and
    none with a wrong one is left behind.

    Parameters
    ----------
    folder : Path
        Where to make the subfolder.
    mirror : str
        The address that the file names are appended to.
    checksums : mapping
        The SHA-256 of each compressed file.

    Returns
    -------
    dict
        The path of each name of `rgo_bench.data.idx_folder.FILES`.

    Raises
    ------
    FileNotFoundError
        If a file cannot be downloaded, saved, or has another checksum.
    """
    # pooch brings requests with it, which no command needs that downloads nothing.
    import pooch

    try:
        paths = [
            pooch.retrieve(
                f"{mirror}{name}.gz",
                known_hash=f"sha256:{checksums[f'{name}.gz']}",
                fname=f"{name}.gz",
                path=folder / "mnist",
            )
            for name in FILES
        ]
    # requests' errors are OSErrors; pooch's wrong checksum is a ValueError.
    except (OSError, ValueError) as error:
        raise FileNotFoundError(_advice(folder, mirror, error)) from error
    return {name: Path(path) for name, path in zip(FILES, paths, strict=True)}


def _default_folders() -> list[Path]:
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    return [Path(named), cache_folder()] if named else [cache_folder()]


def _advice(folder: Path, mirror: str, error: Exception) -> str:
    names = "\n".join(f"  {name}.gz" for name in FILES)
    named = os.environ.get(ENVIRONMENT_VARIABLE) or "not set"
    return (
        f"MNIST is not on this machine and could not be downloaded from {mirror}\n"
        f"Put these four files (with or without .gz)\n{names}\n"
        f"into {folder / 'mnist'}, or into any folder named by --data or by the "
        f"environment variable {ENVIRONMENT_VARIABLE} (now: {named}).\n"
        f"The download failed with: {error}"
    )
