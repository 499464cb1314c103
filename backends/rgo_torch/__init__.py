"""Recursive Gradient Optimization for PyTorch."""

from rgo_core import Axes, Relative, measured_damping
from rgo_torch.encoder.feature_encoder import FeatureEncoder
from rgo_torch.encoding.feature_encoding import FeatureEncoding
from rgo_torch.layers.kinds import register_layout
from rgo_torch.layers.layer import Channels
from rgo_torch.layers.places import Place
from rgo_torch.layers.skipped import Skipped
from rgo_torch.layout import Layout, find_layout
from rgo_torch.observation.curvature_pass import second_moments
from rgo_torch.observation.labels import label_score
from rgo_torch.projecting.projector import GradientProjector
from rgo_torch.rgo import RGO
from rgo_torch.state.flat import flat_state, nested_state

__all__ = [
    "RGO",
    "Axes",
    "Channels",
    "FeatureEncoder",
    "FeatureEncoding",
    "GradientProjector",
    "Layout",
    "Place",
    "Relative",
    "Skipped",
    "find_layout",
    "flat_state",
    "label_score",
    "measured_damping",
    "nested_state",
    "register_layout",
    "second_moments",
]
