"""The types that the signatures of this package speak of."""

from typing import Any, TypeAlias

# An array of any namespace that follows the array API standard. The standard has no
# common base class, so that the checker can say no more than this.
Array: TypeAlias = Any

# The namespace of an array: its module of functions.
Namespace: TypeAlias = Any

DType: TypeAlias = Any
