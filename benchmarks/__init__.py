"""Benchmarks of nlsq against SciPy, and the problem collection they share with the tests.

- ``python -m benchmarks.report`` prints the table of what is promised and what is measured (some fifteen minutes);
  name sections to run only those, and add ``--quick`` to see whether it runs.
- ``asv run`` follows the history (``bench_*.py``); ``asv run -E existing --quick`` with nlsq installed tries it once.

========================  ==========================================================================
module                    contents
========================  ==========================================================================
``problems``              the collections; imports no nlsq
``libraries``             the functions that are compared
``compare``               how times are taken: interleaved pairs, fresh processes
``accuracy``              how right the answers are
``contraction``           undamped Gauss-Newton with large residuals, against theory
``traced``                fits by plain functions that are traced and compiled
``nist_speed``            NIST's data by `fit` and by compiled models
``graphs``                operations of derivatives; large sparse residuals
``elementary``            elementary functions in vectors
``batches``               batches of small fits, fits of millions of points; ``batches_jax`` a peer for them
``sparse``                bundle adjustment and pose graphs; ``peers/ceres_bal.cpp`` is Ceres' program for them
``factorisations``        sparse Cholesky factors and orderings
``startup``, ``scripts``  the code that fresh processes run
``rows``                  what a section is made of
``sections``, ``report``  the rows of the table, and its Markdown
========================  ==========================================================================
"""
