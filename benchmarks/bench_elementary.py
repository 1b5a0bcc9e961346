"""Elementary functions in vectors, beside NumPy's and SciPy's, over 4096 numbers."""

from . import elementary


class ElementaryFunctions:
    """On the processor at hand; `nlsq` makes 64 passes a call, so that the call itself costs nothing."""

    params = [["nlsq", "numpy"], list(elementary.FUNCTIONS)]
    param_names = ["library", "function"]

    def setup(self, library, function):
        host = next(iter(elementary.processors().values()))
        call, _ = elementary.by_kernel(function, host) if library == "nlsq" else elementary.by_peer(function)
        self.evaluate = call

    def time_passes(self, library, function):
        for _ in range(1 if library == "nlsq" else elementary.PASSES):
            self.evaluate()
