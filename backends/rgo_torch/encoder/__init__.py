"""What encodes a model for its tasks, and what writes one task into the weights."""
