r"""A collection of curves y = f(x, p) in plain numpy, to try what can be traced, differentiated and compiled.

Every case holds one function, data x of modest size and a typical point p at which all values are finite. What
the tables hold:

=================== =========================================================================================
module              contents
=================== =========================================================================================
``standard_models`` peaks, steps, polynomials, waves: the curves that every fitting program offers
``nist_models``     the 27 NIST curves, at the data and the certified parameters of their files
``science_models``  formulas of many sciences, each with its source
``styled_models``   the ways of writing a model: forms of x, of parameters, of constants and of results
``function_models`` kinks and choices; the less common functions of numpy, scipy.special and math
=================== =========================================================================================

Left out of the first list: splines, whose basis is built by a recursion over knots outside of the model. Two
small families may be refused by a tracer: ``"math"`` calls functions of Python's `math` on parameters, ``"rows"``
treats points by their place in x.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import nist
from .function_models import FUNCTION_MODELS
from .science_models import SCIENCE_MODELS
from .standard_models import STANDARD_MODELS
from .styled_models import STYLED_MODELS

__all__ = ["MODEL_CASES", "ModelCase"]


@dataclass(frozen=True, eq=False)
class ModelCase:
    """One model function with data.

    Attributes
    ----------
    name : str
        Name of the case, unique in `MODEL_CASES`.
    function : callable
        ``function(x, *p) -> ndarray``, shape (m,) or, for several outputs, (k, m).
    x : ndarray, or tuple or list of ndarray
        Independent variables as the function wants them.
    p : tuple of float, length n
        A typical parameter point; all values there are finite.
    family : str
        ``"standard"``, ``"nist"``, ``"science"``, or what the case is about: ``"x"``, ``"parameters"``,
        ``"constants"``, ``"result"``, ``"choices"``, ``"functions"``, ``"math"``, ``"rows"``.
    """

    name: str
    function: Callable[..., Any]
    x: Any
    p: tuple[float, ...]
    family: str

    @property
    def n(self):
        """Number of parameters."""
        return len(self.p)


def _collect():
    """Return all cases, in the order of the table above."""
    cases = [ModelCase(*entry, "standard") for entry in STANDARD_MODELS]
    for problem in nist.all_problems():
        point = tuple(float(value) for value in problem.certified)
        cases.append(ModelCase(f"nist_{problem.name}", problem.model, problem.x, point, "nist"))
    cases.extend(ModelCase(*entry, "science") for entry in SCIENCE_MODELS)
    cases.extend(ModelCase(*entry) for entry in (*STYLED_MODELS, *FUNCTION_MODELS))
    return tuple(cases)


MODEL_CASES = _collect()
