"""Adapters beside a frozen model: found, watched, and sharing what they take in."""
