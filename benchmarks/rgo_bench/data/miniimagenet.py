"""miniImageNet: from a folder, or from the user's cache."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from rgo_bench.data.class_images import ClassSizes, cached_image_set
from rgo_bench.data.fingerprint import content_fingerprint, listing_fingerprint
from rgo_bench.data.image_set import ImageSet
from rgo_bench.data.jpeg_classes import (
    check_jpeg_classes,
    find_jpeg_classes,
    find_lists,
    read_jpeg_classes,
    read_lists,
)
from rgo_bench.data.miniimagenet_pickles import FILES, read_pickled_classes
from rgo_bench.data.places import cache_folder, found_in, locate, place_advice

SIZES: Final = ClassSizes(classes=100, train=500, test=100, side=84)
SUBFOLDERS: Final = (".", "miniimagenet", "mini-imagenet")


class Source(NamedTuple):
    """Where the images are: of pickles and JPEG files, one is empty."""

    folder: Path
    pickles: dict[str, Path]  # by the names of `FILES`
    classes: dict[str, list[Path]]  # the JPEG files of each class
    lists: tuple[Path, ...] = ()  # that tell the classes, where folders do not

    @property
    def files(self) -> Sequence[Path]:
        """All files, in an order that depends on nothing but their names."""
        jpeg = [path for files in self.classes.values() for path in files]
        return [*self.pickles.values(), *self.lists, *jpeg]


def load_miniimagenet(
    data: Path | None = None, *, sizes: ClassSizes = SIZES
) -> ImageSet:
    """Read miniImageNet: 100 classes of 600 images of 84 x 84 pixels.

    A folder holds, itself or in a subfolder ``miniimagenet`` or ``mini-imagenet``,
    either a folder of JPEG files for each class, perhaps in subfolders ``train``,
    ``val`` and ``test``; or all of them in a folder ``images``, beside the lists
    ``train.csv``, ``val.csv`` and ``test.csv``; or the pickles
    ``mini-imagenet-cache-train.pkl``, ``-val.pkl`` and ``-test.pkl``. All classes are
    gathered. If given, `data` is the only folder to look in. Else the images are looked
    for in the folder that the environment variable ``RGO_DATA`` names, then in the
    user's cache; they cannot be downloaded.

    Classes are numbered in the order of their names. Of each class the first 500
    images, in the order of the files' names or of the pickle's rows, are for training
    and the last 100 for testing: always the same ones.

    The first call decodes everything into 1.3 GB of the user's cache, which later calls
    map: they only list the files, to see whether a name, a size or a time changed.
    """
    source = locate(find_miniimagenet, data)
    if source is None:
        what = (
            "a folder of its 600 JPEG files of 84 x 84 pixels for each of its 100 "
            f"classes,\nor its pickles {', '.join(FILES)}"
        )
        raise FileNotFoundError(
            "miniImageNet is not on this machine and cannot be downloaded.\n"
            f"{place_advice(what, cache_folder() / SUBFOLDERS[1])}"
        )
    if source.classes:
        check_jpeg_classes(source.folder, source.classes, sizes)
        blocks = read_jpeg_classes(source.classes, sizes)
    else:
        blocks = read_pickled_classes(source.pickles, sizes)
    key = listing_fingerprint(source.files, times=True)
    return cached_image_set(f"decoded-miniimagenet-{key}", blocks, sizes)


def fingerprint_miniimagenet(folder: Path) -> str:
    """Return eight characters that tell a folder of other images apart.

    They depend on the content of pickles, but of JPEG files on names and sizes only:
    reading 60,000 files takes long, and few images compress to the same size.
    """
    source = find_miniimagenet(folder)
    if source.classes:
        return listing_fingerprint(source.files, times=False)
    return content_fingerprint(source.pickles)


def find_miniimagenet(folder: Path) -> Source:
    """Find pickles, lists or folders of JPEG files in a folder or its subfolders.

    Images in one folder that lack a list are a FileNotFoundError, as none are.
    """
    for place in (folder / name for name in SUBFOLDERS):
        pickles = {name: place / name for name in FILES}
        if all(path.is_file() for path in pickles.values()):
            return Source(place, pickles, {})
        lists = find_lists(place)
        if lists:
            return Source(place, {}, read_lists(place, lists), tuple(lists))
        classes = find_jpeg_classes(place)
        if classes:
            return Source(place, {}, classes)
    raise FileNotFoundError(
        f"{folder}: expected miniImageNet, as folders of JPEG files, as images/ beside "
        f"lists, or as {', '.join(FILES)}, here or in a subfolder "
        f"{' or '.join(SUBFOLDERS[1:])}, got neither; there is: {found_in(folder)}"
    )
