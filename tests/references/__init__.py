"""Slow, obvious twins of the kernels: numpy, fractions and eigenvalues, nothing shared with what they check."""
