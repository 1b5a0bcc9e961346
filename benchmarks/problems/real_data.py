"""Where real data lie that are not in the repository, and the examples' readers for them.

The environment variable ``NLSQ_BENCH_DATA`` names a folder with ``bal/problem-49-7776-pre.txt`` [1]_ and ``g2o/*.g2o``
[2]_. What needs them is left out where they are not there.

References
----------
.. [1] https://grail.cs.washington.edu/projects/bal/ (Ladybug, 49 cameras and 7 776 points)
.. [2] https://lucacarlone.mit.edu/datasets/ (sphere2500, parking-garage, manhattan, intel)
"""

import importlib
import os
import sys
from functools import cache
from pathlib import Path

__all__ = ["BUNDLE", "GRAPHS", "VARIABLE", "example", "missing", "path_of"]

VARIABLE = "NLSQ_BENCH_DATA"
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
BUNDLE = "bal/problem-49-7776-pre.txt"
GRAPHS = {name: f"g2o/{name}.g2o" for name in ("sphere2500", "parking-garage", "manhattan", "intel")}


def path_of(name):
    """Return the path of a file in the folder of data, or None if it is not there."""
    folder = os.environ.get(VARIABLE)
    path = Path(folder) / name if folder else None
    return path if path is not None and path.is_file() else None


def missing(*names):
    """Say why files are missing; nothing if they are all there."""
    if not os.environ.get(VARIABLE):
        return f"left out: {VARIABLE} names no folder of data"
    absent = [name for name in names if path_of(name) is None]
    return f"left out: {', '.join(absent)} not in {os.environ[VARIABLE]}" if absent else ""


@cache
def example(name):
    """Import a module of ``examples/``, such as ``readers.bal``, as a script in that folder would."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(EXAMPLES))
