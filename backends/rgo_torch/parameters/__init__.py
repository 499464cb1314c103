"""Projected parameters, with second moments and projections in the form of each."""
