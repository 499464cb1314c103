"""Training images held back, to choose options by without the test images."""

import numpy as np

from rgo_bench.data.image_set import ImageSet


def hold_back(images: ImageSet, count: int | None) -> ImageSet:
    """Return an image set that tests on the last training images of every class.

    Parameters
    ----------
    images : ImageSet
    count : int or None
        How many of each class become test images, and train no more. None leaves the
        set as it is.

    Returns
    -------
    ImageSet
        Without the test images of `images`, which nothing can be chosen by then.

    Raises
    ------
    ValueError
        If a class would have no training images left.

    Examples
    --------
    >>> pixels = np.arange(4, dtype=np.uint8).reshape(4, 1, 1)
    >>> labels = np.asarray([0, 1, 1, 0])
    >>> held = hold_back(ImageSet(pixels, labels, pixels[:1], labels[:1]), 1)
    >>> held.train_images.ravel(), held.test_images.ravel()
    (array([0, 1], dtype=uint8), array([2, 3], dtype=uint8))
    """
    if count is None:
        return images
    labels = images.train_labels
    rows = [np.flatnonzero(labels == label) for label in range(images.classes)]
    fewest = min(map(len, rows))
    if count >= fewest:
        raise ValueError(
            f"option 'held_back': expected fewer than the {fewest} training images of "
            f"the smallest class, got {count}"
        )
    kept = np.sort(np.concatenate([row[:-count] for row in rows]))
    held = np.sort(np.concatenate([row[-count:] for row in rows]))
    return ImageSet(
        images.train_images[kept],
        labels[kept],
        images.train_images[held],
        labels[held],
    )
