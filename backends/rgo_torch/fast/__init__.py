"""What a training step does at every step, each thing in the way that is fast."""
