"""Methods, and the one loop that drives them."""

from typing import TYPE_CHECKING

_HOME = {
    "Dogbox": "dogbox",
    "FixedLength": "line_search",
    "GaussNewton": "gauss_newton",
    "GradientDescent": "gauss_newton",
    "InteriorPoint": "interior_point.options",
    "LevenbergMarquardt": "levenberg_marquardt",
    "LineSearch": "line_search",
    "MoreRadius": "damping",
    "Nielsen": "damping",
    "ProjectedGradient": "projected_gradient",
    "Termination": "termination",
    "Tolerances": "termination",
    "TrustRegionReflective": "trust_region_reflective",
    "choose_solver": "choose",
    "drive": "driver",
    "solve": "native",
}

__all__ = [
    "Dogbox",
    "FixedLength",
    "GaussNewton",
    "GradientDescent",
    "InteriorPoint",
    "LevenbergMarquardt",
    "LineSearch",
    "MoreRadius",
    "Nielsen",
    "ProjectedGradient",
    "Termination",
    "Tolerances",
    "TrustRegionReflective",
    "choose_solver",
    "drive",
    "solve",
]

if TYPE_CHECKING:  # the same table, for type checkers and editors
    from nlsq.solvers.choose import choose_solver
    from nlsq.solvers.damping import MoreRadius, Nielsen
    from nlsq.solvers.dogbox import Dogbox
    from nlsq.solvers.driver import drive
    from nlsq.solvers.gauss_newton import GaussNewton, GradientDescent
    from nlsq.solvers.interior_point.options import InteriorPoint
    from nlsq.solvers.levenberg_marquardt import LevenbergMarquardt
    from nlsq.solvers.line_search import FixedLength, LineSearch
    from nlsq.solvers.native import solve
    from nlsq.solvers.projected_gradient import ProjectedGradient
    from nlsq.solvers.termination import Termination, Tolerances
    from nlsq.solvers.trust_region_reflective import TrustRegionReflective
else:  # hidden from type checkers, which would otherwise take any misspelt name for Any

    def __getattr__(name):
        home = _HOME.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{home}"), name)
        globals()[name] = value  # the next access does not come here
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
