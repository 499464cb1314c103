"""Dense and convolutional layers that project, and observe, at the cheaper side."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

import rgo_core
from rgo_core._checks import check_choice
from rgo_core.vectors import REDUCES, Reduce
from rgo_jax.ranks import any_ranks
from rgo_jax.shardings import by_compiler
from rgo_jax.taps import TAPPED, Tapped, conv_vectors, dense_vectors, tapped
from rgo_jax.varying import varying_alike

# Batch, positions and channels last, as in Flax.
NHWC = ("NHWC", "HWIO", "NHWC")


def dense(
    inputs: Array,
    kernel: Array,
    *,
    projection: Array | None = None,
    tap: Array | None = None,
    reduce: Reduce = "uncancelled",
) -> Array:
    """Return ``X W`` with a cotangent of W that is already projected: ``(X P)^T D``.

    Parameters
    ----------
    inputs : array (b, n)
        X.
    kernel : array (n, m)
        W.
    projection : array (n, n), optional
        P, normalised. Tell `project_gradients` of it with ``factored=``.
    tap : array (b, n), optional
        Zeros, whose gradient is the samples' curvature vectors; see `tapped_vectors`.
    reduce : {"uncancelled", "mean", "rms", "signs"}
        What those take of the m outputs; see `curvature_vectors`. One a sample, of
        ``"rms"`` too.

    Returns
    -------
    array (b, m)

    Raises
    ------
    ValueError
        If the shapes do not fit, or `reduce` is none of the four.

    Notes
    -----
    Costs ``n^2 b`` beside the plain gradient where the batch is smaller than m, else
    ``n^2 m``, see `rgo_core.project_factors`. A tap costs ``b (n + m)``. With either,
    JAX differentiates in reverse only; leave them out for `jax.jvp`.

    References
    ----------
    Liu and Liu (2022), equation 9.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, rgo_jax
    >>> kernel, half = jnp.ones((2, 3)), 0.5 * jnp.eye(2)
    >>> def total(kernel):
    ...     return rgo_jax.dense(jnp.ones((1, 2)), kernel, projection=half).sum()
    >>> jax.grad(total)(kernel)
    Array([[0.5, 0.5, 0.5],
           [0.5, 0.5, 0.5]], dtype=float32)
    """
    n = inputs.shape[-1]
    if inputs.ndim != 2 or kernel.ndim != 2 or kernel.shape[0] != n:
        raise ValueError(
            "expected inputs (b, n) and a kernel (n, m), got shapes "
            f"{inputs.shape} and {kernel.shape}"
        )
    _check_shape("projection", projection, (n, n))
    _check_shape("tap", tap, inputs.shape)
    check_choice("reduce", reduce, REDUCES)
    if projection is None:
        outputs = inputs @ kernel
    else:
        outputs = _projected_dense(*varying_alike(inputs, kernel, projection))
    if tap is None:
        return outputs
    return tapped(partial(dense_vectors, reduce), outputs, tap, inputs)


def conv(
    inputs: Array,
    kernel: Array,
    *,
    strides: Sequence[int] = (1, 1),
    padding: str | Sequence[tuple[int, int]] = "SAME",
    dilation: Sequence[int] = (1, 1),
    tap: Array | None = None,
    reduce: Tapped = "uncancelled",
) -> Array:
    """Return the convolution of images with a kernel.

    Parameters
    ----------
    inputs : array (b, height, width, channels)
    kernel : array (kh, kw, channels, m)
    strides, padding, dilation : sequences, or for the padding a name
        As those of `jax.lax.conv_general_dilated`; the dilation is of the kernel.
    tap : array (b, kh kw channels), optional
        Zeros, whose gradient is the samples' curvature vectors; see `tapped_vectors`.
    reduce : {"uncancelled", "mean", "signs"}
        What those take of the m outputs; see `curvature_vectors`.

    Returns
    -------
    array (b, height, width, m)

    Raises
    ------
    ValueError
        If the shape of `tap` does not fit, or `reduce` is none of the three.

    Notes
    -----
    A tap multiplies one output gradient with the input: no patches are formed. There
    is no factored projection: a convolution has a row for every position, more than
    outputs in all but the last layers of deep networks.

    Examples
    --------
    >>> import jax.numpy as jnp, rgo_jax
    >>> rgo_jax.conv(jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 5))).shape
    (1, 4, 4, 5)
    """
    convolve = partial(
        lax.conv_general_dilated,
        window_strides=tuple(strides),
        padding=padding,
        rhs_dilation=tuple(dilation),
        dimension_numbers=NHWC,
    )
    check_choice("reduce", reduce, TAPPED)
    outputs = convolve(inputs, kernel)
    if tap is None:
        return outputs
    _check_shape("tap", tap, (inputs.shape[0], kernel[..., 0].size))
    steps, dilated = tuple(strides), tuple(dilation)
    sides = kernel.shape[:2]
    vectors = partial(conv_vectors, steps, padding, dilated, sides, reduce)
    return tapped(vectors, outputs, tap, inputs)


@jax.custom_vjp
def _projected_dense(inputs: Array, kernel: Array, projection: Array) -> Array:
    return inputs @ kernel


def _dense_forward(
    inputs: Array, kernel: Array, projection: Array
) -> tuple[Array, tuple[Array, Array, Array]]:
    return inputs @ kernel, (inputs, kernel, projection)


@any_ranks
def _dense_backward(
    saved: tuple[Array, Array, Array], gradient: Array
) -> tuple[Array, Array, Array]:
    inputs, kernel, projection = saved
    of_inputs = by_compiler(_input_gradient, gradient, kernel, like=inputs)
    projected = by_compiler(
        _projected_gradient, projection, inputs, gradient, like=kernel
    )
    return (
        of_inputs.astype(inputs.dtype),
        projected.astype(kernel.dtype),
        jnp.zeros_like(projection),
    )


def _input_gradient(gradient: Array, kernel: Array) -> Array:
    return gradient @ kernel.mT


def _projected_gradient(projection: Array, inputs: Array, gradient: Array) -> Array:
    # TF32 and bfloat16 would leak ten and hundreds of times as much. Transposed, XLA
    # multiplies X by P in half the time.
    with jax.default_matmul_precision("highest"):
        projected: Array = rgo_core.project_factors(
            projection,
            inputs.astype(projection.dtype),
            gradient.astype(projection.dtype),
            axis=-1,
        )
    return projected.mT


_projected_dense.defvjp(_dense_forward, _dense_backward)


def _check_shape(name: str, array: Array | None, shape: tuple[int, ...]) -> None:
    if array is not None and array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
