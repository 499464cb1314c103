"""Layers that RGO protects: their parameters as axes, their calls as vectors."""
