"""A Python function becomes kernels: checked, traced, differentiated, written out, compiled."""
