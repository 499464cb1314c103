"""RGO's options by single names, as a command line and a record have them."""

from functools import partial
from typing import Any

from rgo_core import Relative
from rgo_core.damping import RELATIVE_DAMPING
from rgo_torch import second_moments
from rgo_torch.options.observing import CHOSEN

# Bound to the curvature pass.
BOUND = (*CHOSEN, "chunk_size")
# All that are not RGO's own.
FLAT = (*BOUND, "relative", "most", "weights", "biases")


def rgo_arguments(**flat: Any) -> dict[str, Any]:
    """Return the arguments of `rgo_torch.RGO` for options by single names.

    `per`, `reduce`, `curvature` and `chunk_size` are of the curvature pass,
    ``relative=True`` says that `damping` is, and `most` up to what, `weights` and
    `biases` are "raw" or "normalized". All others are RGO's own. What is None is left
    to RGO. Raw weights with normalized biases are refused, for no form of RGO has them,
    and so is `most` without a relative damping.
    """
    arguments = {name: value for name, value in flat.items() if value is not None}
    bound = {name: arguments.pop(name) for name in BOUND if name in arguments}
    if bound:
        arguments["observe"] = partial(second_moments, **bound)
    relative, most = arguments.pop("relative", None), arguments.pop("most", None)
    if most is not None and not (relative and "damping" in arguments):
        raise ValueError(
            "option 'most': expected a damping with relative=true beside it, got "
            f"{most}"
        )
    if relative and "damping" in arguments:
        arguments["damping"] = Relative(arguments["damping"], most)
    elif relative and arguments.get("project") != "update":
        arguments["damping"] = RELATIVE_DAMPING  # of an update it is so by default
    weights, biases = arguments.pop("weights", None), arguments.pop("biases", None)
    if weights == "raw" and biases == "normalized":
        raise ValueError(
            "option 'weights': expected normalized with biases=normalized, which "
            "scales all projections, got raw"
        )
    if biases == "normalized":
        arguments["normalize"] = "all"
    elif weights is not None:
        arguments["normalize"] = "weights" if weights == "normalized" else "none"
    return arguments
