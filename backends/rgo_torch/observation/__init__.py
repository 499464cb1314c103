"""The curvature pass in parts: which samples, what layers did, where vectors go."""
