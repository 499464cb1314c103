"""What the options of RGO mean, and what they are where they are left out."""
