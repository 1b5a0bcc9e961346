"""Least-squares problems with known answers, shared by the tests and the benchmarks.

Each problem is data and plain numpy functions; nothing here imports nlsq, so any solver can be measured.

=========================== =============================================================================
module                      contents
=========================== =============================================================================
``nist``                    27 NIST StRD curves, two starts each, certified parameters
``more_garbow_hillstrom``   48 residual functions, three starts each, exact Jacobians, known minima
``bounded``                 problems with lower and upper bounds, known minima
``constrained``             problems with equalities, inequalities and bounds, and a judge of their answers
``robust``                  fits to data with gross outliers
``curves``                  small synthetic curves, among them those the timings use
``batches``                 many small fits of one model, and one fit of any number of points
``model_zoo``               curves in all the ways of writing them, to try what can be traced
``residual_zoo``            residual functions likewise, and functions that must not be traced
=========================== =============================================================================

Conventions: a residual is r = model - data of shape (m,), a Jacobian is dr_i/dx_j of shape (m, n), and a
minimum is quoted as the *sum of squares* r'r; the cost of nlsq and SciPy is half of it.
"""
