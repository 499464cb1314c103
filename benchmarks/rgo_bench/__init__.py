"""The benchmarks: data, streams of tasks, methods, records, tables and plots."""
