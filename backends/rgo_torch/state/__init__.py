"""What is saved of RGO, and how it is checked when it comes back."""
