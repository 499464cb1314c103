"""Measurements that are no runs of a table: time, memory, errors."""
