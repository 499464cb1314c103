"""Small image sets in the layouts of their publishers."""

import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rgo_bench.data.class_images import ClassSizes

COUNTS = {"train": 7, "test": 3}
SIZES = ClassSizes(classes=3, train=4, test=2, side=8)
CLASS_NAMES = ("n01", "n02", "n03")


def cifar_records(part: str) -> NDArray[np.uint8]:
    """Records of CIFAR-100's binary version: coarse label, fine label, pixels."""
    count = COUNTS[part]
    draw = np.random.default_rng(count)
    records = draw.integers(0, 256, (count, 3074), dtype=np.uint8)
    records[:, 0] = draw.integers(0, 20, count)
    records[:, 1] = 99 - np.arange(count)
    return records


def write_cifar_binary(folder: Path) -> dict[str, Path]:
    return _write(folder, {f"{p}.bin": cifar_records(p).tobytes() for p in COUNTS})


def write_cifar_python(folder: Path) -> dict[str, Path]:
    return _write(folder, {part: cifar_pickle(part) for part in COUNTS})


def cifar_pickle(part: str) -> bytes:
    """What the publisher's Python 2 wrote."""
    records = cifar_records(part)
    return python2_pickle(
        {
            "data": records[:, 2:],
            "fine_labels": records[:, 1].tolist(),
            "coarse_labels": records[:, 0].tolist(),
            "filenames": [f"image_{row}.png" for row in range(len(records))],
            "batch_label": "training batch 1 of 1",
        }
    )


def class_images(label: int) -> NDArray[np.uint8]:
    """Images of one color each, RGB, channels last: JPEG changes them little."""
    colors = [(70 * label + 20, 200, 10 * row) for row in range(SIZES.images)]
    images = np.array(colors, np.uint8)[:, None, None]
    return np.broadcast_to(images, (SIZES.images, 8, 8, 3)).copy()


def jpeg_paths(folder: Path, split_at: int | None = None) -> dict[str, list[Path]]:
    """The paths of every class: in one folder, or in ``train`` and ``val``."""
    paths = {}
    for name in CLASS_NAMES:
        files = [f"{name}{row:04}.jpg" for row in range(SIZES.images)]
        below = [
            "." if split_at is None else "train" if row < split_at else "val"
            for row in range(SIZES.images)
        ]
        paths[name] = [
            folder / part / name / file for part, file in zip(below, files, strict=True)
        ]
    return paths


def write_jpegs(folder: Path, split_at: int | None = None) -> Path:
    for label, paths in enumerate(jpeg_paths(folder, split_at).values()):
        for image, path in zip(class_images(label), paths, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path, quality=95)
    return folder


def write_listed(folder: Path) -> Path:
    """All images in one folder, and a list of one class in each of three."""
    (folder / "images").mkdir(parents=True)
    splits = zip(("train", "val", "test"), jpeg_paths(folder).items(), strict=True)
    for label, (split, (name, paths)) in enumerate(splits):
        for image, path in zip(class_images(label), paths, strict=True):
            file = folder / "images" / path.name
            Image.fromarray(image).save(file, quality=95)
        rows = "".join(f"{path.name},{name}\n" for path in reversed(paths))
        (folder / f"{split}.csv").write_text(f"filename,label\n{rows}")
    return folder


def class_pickle(labels: tuple[int, ...], protocol: int = 4) -> bytes:
    """One of miniImageNet's pickles, the rows of its classes taking turns."""
    images = np.stack([class_images(label) for label in labels], axis=1)
    count = len(labels)
    rows = {
        CLASS_NAMES[label]: list(range(place, SIZES.images * count, count))
        for place, label in enumerate(labels)
    }
    content = {"image_data": images.reshape(-1, 8, 8, 3), "class_dict": rows}
    return pickle.dumps(content, protocol)


def write_class_pickles(folder: Path) -> dict[str, Path]:
    labels = {"train": (2,), "val": (0,), "test": (1,)}
    files = {f"mini-imagenet-cache-{n}.pkl": class_pickle(labels[n]) for n in labels}
    _write(folder, files)
    return {name: folder / name for name in files}


def python2_pickle(content: Mapping[str, Any]) -> bytes:
    """A dictionary as Python 2 and its NumPy pickled it, with protocol 2."""
    items = b"".join(_old(key) + _old(value) for key, value in content.items())
    return b"\x80\x02}(" + items + b"u."


def _old(value: Any) -> bytes:
    if isinstance(value, str):
        return b"U" + bytes([len(value)]) + value.encode("ascii")
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(_old, value)) + b"e"
    assert isinstance(value, np.ndarray)
    raw = value.tobytes()
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        b"K\x00\x85U\x01b\x87R(K\x01("
        + b"".join(map(_old, value.shape))
        + b"tcnumpy\ndtype\n"
        + _old(value.dtype.str[1:])
        + b"K\x00K\x01\x87R(K\x03"
        + _old(value.dtype.str[0])
        + b"NNN"
        + 2 * _old(-1)
        + b"K\x00tb\x89T"
        + struct.pack("<i", len(raw))
        + raw
        + b"tb"
    )


def _write(folder: Path, files: Mapping[str, bytes]) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return {name.removesuffix(".bin"): folder / name for name in files}
