"""Runs: what is asked for, how it goes, and many at a time."""
