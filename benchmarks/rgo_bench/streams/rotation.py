"""The rotation of an image as a sparse matrix."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

# Rounding must not push a pixel on the border out of the image at multiples of 90.
_ROUNDING = 1e-9


def rotation_operator(height: int, width: int, degrees: float) -> sparse.csr_array:
    """Return the matrix that turns flattened images about their center.

    Bilinear interpolation, no expansion, and 0 where the turned image has no pixel:
    what ``scipy.ndimage.rotate(image, degrees, order=1, reshape=False)`` computes.
    Rotation is linear in the pixels, so one matrix turns any number of images.

    Parameters
    ----------
    height, width : int
        The size of the images.
    degrees : float
        The angle, counter-clockwise for an image whose first row is on top, as in
        Pillow and torchvision.

    Returns
    -------
    scipy.sparse.csr_array
        Of shape ``(height * width, height * width)``, float32, to be applied to a
        flattened image from the left.
    """
    row, column = _sources(height, width, degrees)
    inside = _within(row, height) & _within(column, width)
    target = np.flatnonzero(inside)
    above, down = _split(row[inside], height)
    left, right = _split(column[inside], width)
    corners = [
        (above, left, (1 - down) * (1 - right)),
        (above, left + 1, (1 - down) * right),
        (above + 1, left, down * (1 - right)),
        (above + 1, left + 1, down * right),
    ]
    weights = np.concatenate([weight for _, _, weight in corners])
    sources = np.concatenate([i * width + j for i, j, _ in corners])
    # A corner past the border has weight 0; its index may lie outside the matrix.
    used = weights > 0
    targets = np.tile(target, len(corners))
    size = height * width
    return sparse.csr_array(
        (weights[used].astype(np.float32), (targets[used], sources[used])),
        shape=(size, size),
    )


def _sources(
    height: int, width: int, degrees: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the place in the image that each pixel of the turned image shows."""
    center_row, center_column = (height - 1) / 2, (width - 1) / 2
    rows, columns = np.indices((height, width)).reshape(2, -1)
    down, right = rows - center_row, columns - center_column
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    row = cos * down + sin * right + center_row
    column = cos * right - sin * down + center_column
    return row, column


def _within(place: NDArray[np.float64], size: int) -> NDArray[np.bool_]:
    return (place >= -_ROUNDING) & (place <= size - 1 + _ROUNDING)


def _split(
    place: NDArray[np.float64], size: int
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Divide a place into the pixel before it and the fraction of a pixel past it."""
    place = np.clip(place, 0, size - 1)
    before = np.floor(place).astype(np.intp)
    return before, place - before
