"""A projection as oneDNN lays it out for products, packed anew when it is another."""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from rgo_torch.fast.product import (
    can_use_onednn,
    lying_by_rows,
    multiplications,
    rows_times,
)
from rgo_torch.modules.torch_private import (
    multiply_packed,
    packed_for_products,
    version_of,
)

# Multiplications above which that is faster: measured on one thread of a CPU with
# AVX-512, where ten rows of 2450 take half of what they take by MKL.
LARGE = 2**22
capability = cache(torch.backends.cpu.get_cpu_capability)


class PackedProduct:
    """Multiplies rows by a projection that stays the same for many steps.

    Notes
    -----
    Takes the memory of the projection a second time, where it is packed.
    """

    def __init__(self) -> None:
        self._packed = torch.empty(0)
        self._source: tuple[Any, int] = (None, 0)

    def __call__(self, projection: Any, rows: Tensor) -> Tensor:
        """Return ``X P``, in true float32, of which the caller has made sure."""
        if not _pays(projection, rows):
            return rows_times(projection, rows)
        source, version = self._source
        if source is not projection or version != version_of(projection):
            self._packed = packed_for_products(lying_by_rows(projection), len(rows))
            self._source = projection, version_of(projection)
        return multiply_packed(rows, self._packed)


def _pays(projection: Any, rows: Tensor) -> bool:
    # Its size first: of small layers nothing else is asked, at every step.
    return (
        multiplications(projection, rows) > LARGE
        and can_use_onednn(projection, rows)
        and capability() == "AVX512"
    )
