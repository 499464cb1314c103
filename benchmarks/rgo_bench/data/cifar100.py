"""CIFAR-100: from a folder, from the user's cache, or from the network."""

import shutil
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from rgo_bench.data.cifar_binary import COUNTS, read_cifar_binary
from rgo_bench.data.cifar_python import read_cifar_python
from rgo_bench.data.download import download
from rgo_bench.data.fingerprint import content_fingerprint
from rgo_bench.data.image_set import ImageSet
from rgo_bench.data.places import cache_folder, found_in, locate, place_advice

URL: Final = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"
CHECKSUM: Final = "md5:03b5dce01913d631647c71ecec9e9cb8"
BINARY: Final = "cifar-100-binary"
SUBFOLDERS: Final = (".", BINARY, "cifar-100-python", "cifar100")
SUFFIXES: Final = (".bin", "")  # of the binary version and of the pickles


def load_cifar100(
    data: Path | None = None, *, counts: Mapping[str, int] = COUNTS
) -> ImageSet:
    """Read CIFAR-100, in its binary version or in the pickles for Python.

    A folder holds the two files (``train.bin`` and ``test.bin``, or ``train`` and
    ``test``) itself or in a subfolder ``cifar-100-binary``, ``cifar-100-python`` or
    ``cifar100``. Without `data` they are looked for in the folder that the environment
    variable ``RGO_DATA`` names, then in the user's cache, and are then downloaded into
    that cache.

    Parameters
    ----------
    data : Path, optional
        The only folder to look in.
    counts : mapping, optional
        The images in ``"train"`` and in ``"test"``; CIFAR-100's by default.

    Returns
    -------
    ImageSet
        Images of shape ``(N, 3, 32, 32)`` with their fine labels.

    Raises
    ------
    FileNotFoundError
        If `data` lacks the files, or they are nowhere and cannot be downloaded.
    ValueError
        If a file has another size or content than expected.
    """
    files = locate(find_cifar100, data) or download_cifar100(cache_folder())
    binary = files["train"].suffix == SUFFIXES[0]
    read = read_cifar_binary if binary else read_cifar_python
    train, test = (read(files[part], counts[part]) for part in ("train", "test"))
    return ImageSet(*train, *test)


def fingerprint_cifar100(folder: Path) -> str:
    """Return eight characters that tell a folder of other images apart."""
    return content_fingerprint(find_cifar100(folder))


def find_cifar100(folder: Path) -> dict[str, Path]:
    """Find the two files in a folder or its subfolders, the binary ones first.

    Raises
    ------
    FileNotFoundError
        If they are in none.
    """
    for place in (folder / name for name in SUBFOLDERS):
        for suffix in SUFFIXES:
            files = {name: place / f"{name}{suffix}" for name in COUNTS}
            if all(path.is_file() for path in files.values()):
                return files
    raise FileNotFoundError(
        f"{folder}: expected train.bin and test.bin, or the pickles train and test, of "
        f"CIFAR-100 here or in a subfolder {', '.join(SUBFOLDERS[1:])}, got neither; "
        f"there is: {found_in(folder)}"
    )


def download_cifar100(
    folder: Path, *, url: str = URL, checksum: str = CHECKSUM
) -> dict[str, Path]:
    """Download the binary version into a subfolder ``cifar-100-binary``.

    Parameters
    ----------
    folder : Path
        Where to make the subfolder.
    url, checksum : str
        Of the archive, which is not kept.

    Returns
    -------
    dict
        The paths of ``"train"`` and ``"test"``.

    Raises
    ------
    FileNotFoundError
        If the archive cannot be downloaded or saved, or has another checksum.
    ValueError
        If a file is missing in it.
    """
    archive = folder / Path(url).name
    advice = (
        f"CIFAR-100 is not on this machine and could not be downloaded from {url}\n"
        f"{place_advice('train.bin and test.bin', folder / BINARY)}"
    )
    download(url, archive, checksum=checksum, advice=advice)
    (folder / BINARY).mkdir(exist_ok=True)
    files = {name: folder / BINARY / f"{name}.bin" for name in COUNTS}
    for path in files.values():
        _extract(archive, path)
    archive.unlink()
    return files


def _extract(archive: Path, path: Path) -> None:
    """Write one file of an archive, whole or not at all, and nothing else of it."""
    name = f"{BINARY}/{path.name}"
    with (
        tarfile.open(archive) as opened,
        tempfile.TemporaryDirectory(dir=path.parent) as folder,
    ):
        member = opened.getmember(name) if name in opened.getnames() else None
        content = opened.extractfile(member) if member and member.isreg() else None
        if content is None:
            raise ValueError(f"{archive}: expected a file {name} in it, got none")
        part = Path(folder) / path.name
        with part.open("wb") as file:
            shutil.copyfileobj(content, file)
        part.replace(path)
