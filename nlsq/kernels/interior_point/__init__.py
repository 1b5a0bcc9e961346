"""The interior-point method for constrained least squares, in kernels; `loop` is where to begin to read."""
