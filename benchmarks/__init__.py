"""Benchmarks of nlsq against SciPy, and the problem collection they share with the tests.

- ``python -m benchmarks.report`` prints the table of what is promised and what is measured (two to three minutes);
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
``startup``               the code that fresh processes run
``sections``, ``report``  the rows of the table, and its Markdown
========================  ==========================================================================
"""
