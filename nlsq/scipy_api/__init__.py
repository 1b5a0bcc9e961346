"""SciPy's surface: `curve_fit`, `least_squares` and `leastsq` as in SciPy 1.17. Translation only, no numerics.

The functions are not imported here: `nlsq.scipy_api.curve_fit` is the module, `nlsq.curve_fit` the function.
"""
