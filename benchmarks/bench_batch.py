"""Batches of small fits beside SciPy's loop, one fit of millions of points, and the first batch of a process."""

import time

from . import batches
from .libraries import LIBRARIES

PEER_BATCH = """
import numpy as np
from scipy.optimize import curve_fit

model = lambda x, a, b, c, d: a * np.exp(-0.5 * ((x - b) / c) ** 2) + d * np.cos(x)
x = np.linspace(-5.0, 5.0, 100)
y = model(x, 3.0, 0.5, 0.8, 1.0) + 0.1 * np.sin(37.0 * x)
for row in (y, y + 0.1):
    curve_fit(model, x, row, [2.0, 0.0, 1.0, 0.5])
"""


class Batches:
    """The same few hundred fits by both; and fits in a second, where ours makes as many as its batch has."""

    params = [LIBRARIES, list(batches.REQUIRED), [1, 2]]
    param_names = ["library", "problem", "threads"]

    def setup(self, library, problem, threads):
        if library == "scipy" and threads > 1:
            raise NotImplementedError  # asv leaves the combination out
        if library == "nlsq":
            self.few, self.many = (batches.our_batch(problem, size, threads) for size in (batches.LOOP, None))
        else:
            self.few = self.many = batches.peer_loop(problem, batches.LOOP)
        self.few[0]()

    def time_300_fits(self, library, problem, threads):
        self.few[0]()

    def track_fits_in_a_second(self, library, problem, threads):
        call, count = self.many
        start = time.perf_counter()
        call()
        return count / (time.perf_counter() - start)

    track_fits_in_a_second.unit = "fits/s"


class Answers:
    """Fits of 300 that end as low as SciPy's; SciPy's own are those it solves."""

    params = [LIBRARIES, list(batches.REQUIRED)]
    param_names = ["library", "problem"]

    def track_as_low(self, library, problem):
        batch = batches.load_batch(problem, batches.LOOP)
        ours = batches.our_batch(problem, batches.LOOP)[0]().params
        theirs = batches.peer_loop(problem, batches.LOOP)[0]()
        solved, good, _ = batches.compare_costs(batch, ours, theirs)
        return good if library == "nlsq" else solved

    track_as_low.unit = "fits of 300"


class LongFit:
    """One fit of many points."""

    params = [LIBRARIES, [10**5, 10**6, 10**7]]
    param_names = ["library", "m"]
    timeout = 600

    def setup(self, library, m):
        self.fit = batches.our_fit(m) if library == "nlsq" else batches.peer_fit(m)

    def time_fit(self, library, m):
        self.fit()

    def peakmem_fit(self, library, m):
        self.fit()


class FirstBatch:
    """A fresh process that compiles a model for batches, or finds it on disk; beside it SciPy's first two fits."""

    params = [LIBRARIES]
    param_names = ["library"]
    number, repeat, warmup_time = 1, 5, 0

    def timeraw_batch(self, library):
        return batches.FIRST_BATCH if library == "nlsq" else PEER_BATCH
