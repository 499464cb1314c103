"""Recursive Gradient Optimization for JAX, as an optax transformation."""

from rgo_jax.consolidation import end_task
from rgo_jax.encoding import Encoding, encode, make_encoding
from rgo_jax.free_share import plasticity
from rgo_jax.layers import conv, dense
from rgo_jax.layout import Axes, Layout, find_layout
from rgo_jax.meshes import summed
from rgo_jax.moments import empty_moments, observe
from rgo_jax.projection import ProjectionState, projection_state
from rgo_jax.saving import load, save
from rgo_jax.scores import binary_score, softmax_score, squared_error_score
from rgo_jax.taps import tapped_vectors
from rgo_jax.transformation import project_gradients
from rgo_jax.vectors import curvature_vectors

__all__ = [
    "Axes",
    "Encoding",
    "Layout",
    "ProjectionState",
    "binary_score",
    "conv",
    "curvature_vectors",
    "dense",
    "empty_moments",
    "encode",
    "end_task",
    "find_layout",
    "load",
    "make_encoding",
    "observe",
    "plasticity",
    "project_gradients",
    "projection_state",
    "save",
    "softmax_score",
    "squared_error_score",
    "summed",
    "tapped_vectors",
]
