"""The paper's tables: what they are made of, and its numbers."""
