"""What projects gradients and updates, attached to modules and optimizers."""
