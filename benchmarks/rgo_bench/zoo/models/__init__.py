"""The models, each small enough for one core."""
