"""Colouring sparse patterns beside SciPy's `group_columns`."""

from . import coloring
from .libraries import LIBRARIES
from .problems import sparsity


class Coloring:
    """Time to colour, and the number of colours: evaluations that each Jacobian by differences takes."""

    params = [LIBRARIES, list(sparsity.PATTERNS)]
    param_names = ["library", "pattern"]

    def setup(self, library, pattern):
        self.color = (coloring.our_coloring if library == "nlsq" else coloring.peer_coloring)(pattern)
        self.color()

    def time_coloring(self, library, pattern):
        self.color()

    def track_colors(self, library, pattern):
        return int(self.color().max()) + 1

    track_colors.unit = "colours"
