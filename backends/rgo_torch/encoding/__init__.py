"""Permutations of features, and where modules are given and give out permuted ones."""
