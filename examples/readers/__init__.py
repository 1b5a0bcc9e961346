"""Readers of the files that examples and benchmarks take: bundle adjustments and pose graphs, in plain NumPy."""
