"""What the name of a parameter tells of it."""

import re

# Tables of what is added, looked up or scaled by, entry by entry.
ADDED = re.compile(
    r"pos|embed|token|table|scale|offset|gamma|beta|(^|_)log(_|$)", re.IGNORECASE
)


def may_multiply(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a parameter may be a matrix that multiplies, for all its name says."""
    is_matrix = sum(length > 1 for length in shape) > 1
    return is_matrix and not ADDED.search(name)
