"""PyTorch's modules, hooks and trees of tensors, as RGO looks at them."""
