"""Second moments of devices that saw parts of the data."""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import jax

import rgo_core
from rgo_core import SketchedMoment
from rgo_jax.double import check_kept_double
from rgo_jax.forms import Moment


def summed(
    moments: Mapping[str, Moment],
    axis_name: str | Sequence[str],
    *,
    before: Mapping[str, Moment] | None = None,
) -> dict[str, Moment]:
    """Add up what the devices along an axis of a mesh observed.

    Parameters
    ----------
    moments : mapping of str to SecondMoment, DiagonalMoment or SketchedMoment
        Of this device's share alone: ``observe(empty_moments(params), vectors)``, with
        the layout where there is one, not what all have seen already, which would be
        added once for each device.
    axis_name : str or sequence of str
        Of the mesh; of `jax.vmap` or `jax.pmap` too.
    before : mapping of str to SecondMoment, DiagonalMoment or SketchedMoment, optional
        What all devices have in common, to which the sum is added.

    Returns
    -------
    dict of str to SecondMoment, DiagonalMoment or SketchedMoment
        The same on all devices along the axis.

    Raises
    ------
    TypeError
        If a second moment is not float64, or of another form than that of `before`.

    Notes
    -----
    For use inside of `jax.shard_map`. One `jax.lax.psum` of ``n^2`` float64 numbers a
    parameter, whatever `jax_enable_x64` says; sketches, which have no sum, are
    gathered, and merged in the order of the devices, which `jax.shard_map` takes for
    the same on all devices with ``check_vma=False`` only.

    With ``check_vma=True``, its default, JAX sums a gradient in parameters that all
    devices share over the devices: `curvature_vectors` and `tapped_vectors` take each
    device's own. Do as much before a `jax.grad` of your own that is to be observed:
    ``jax.lax.pcast(params, "data", to="varying")``, of JAX 0.8 `jax.lax.pvary`.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, rgo_jax
    >>> def seen(rows):
    ...     return rgo_jax.summed(rgo_jax.observe({}, {"kernel": rows}), "data")
    >>> rows = jnp.asarray([[[1.0, 0.0]], [[0.0, 2.0]]])  # of two devices
    >>> jax.vmap(seen, axis_name="data")(rows)["kernel"].matrix[0]
    Array([[1., 0.],
           [0., 4.]], dtype=float64)
    """
    earlier = before or {}
    found = {}
    for path, moment in moments.items():
        check_kept_double(path, moment)
        _check_form(path, moment, earlier.get(path, moment))
        with jax.enable_x64(True):
            total: Any = _total(moment, axis_name)
            if path in earlier:
                total = rgo_core.merge_moments(earlier[path], total)
        found[path] = total
    return {**earlier, **found}


def _check_form(path: str, moment: Moment, before: Moment) -> None:
    if type(moment) is not type(before):
        raise TypeError(
            f"{path}: expected a {type(before).__name__}, as before has it, got a "
            f"{type(moment).__name__}: observe from empty_moments of the same layout"
        )


def _total(moment: Moment, axis_name: str | Sequence[str]) -> Any:
    if not isinstance(moment, SketchedMoment):
        return jax.lax.psum(moment, axis_name)  # type: ignore[no-untyped-call]
    every = jax.lax.all_gather(moment, axis_name)
    count = every.count.shape[0]
    parts = [jax.tree.map(lambda part, i=i: part[i], every) for i in range(count)]
    return reduce(rgo_core.merge_moments, parts)
