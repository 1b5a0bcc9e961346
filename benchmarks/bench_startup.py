"""What a fresh process pays: importing, the first fit with kernels on disk, the first fit ever."""

from .libraries import LIBRARIES
from .startup import COLD_CACHE, FIRST_FIT, IMPORT


class Import:
    """``import nlsq`` beside what a user of SciPy imports."""

    params = [["numpy", *LIBRARIES]]
    param_names = ["library"]
    number, repeat, warmup_time = 1, 15, 0

    def timeraw_import(self, library):
        return IMPORT[library]


class FirstFit:
    """Import and one plain `curve_fit`."""

    params = [LIBRARIES, ["warm", "cold"]]
    param_names = ["library", "cache"]
    number, warmup_time = 1, 0
    repeat = (3, 15, 20.0)
    timeout = 300

    def setup(self, library, cache):
        if cache == "cold" and library != "nlsq":
            raise NotImplementedError  # asv leaves the combination out
        exec(FIRST_FIT[library], {})  # kernels and bytecode are on disk from here on

    def timeraw_first_fit(self, library, cache):
        return (COLD_CACHE if cache == "cold" else "") + FIRST_FIT[library]
