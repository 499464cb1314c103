"""Recursive Gradient Optimization for PyTorch."""

from rgo_torch.curvature import second_moments
from rgo_torch.damping import measured_damping
from rgo_torch.encoder import FeatureEncoder, FeatureEncoding
from rgo_torch.projector import GradientProjector
from rgo_torch.rgo import RGO

__all__ = [
    "RGO",
    "FeatureEncoder",
    "FeatureEncoding",
    "GradientProjector",
    "measured_damping",
    "second_moments",
]
