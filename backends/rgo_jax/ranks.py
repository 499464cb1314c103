"""Broadcasting as NumPy does it, where JAX is told to raise at promoted ranks."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import jax

Given = ParamSpec("Given")
Result = TypeVar("Result")


def any_ranks(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Run a function under ``jax.numpy_rank_promotion("allow")``.

    The core is written for every namespace, whose arrays broadcast. What a user's own
    functions do stays under the user's setting: none may be called inside.
    """

    @wraps(function)
    def called(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        with jax.numpy_rank_promotion("allow"):
            return function(*args, **kwargs)

    return called
