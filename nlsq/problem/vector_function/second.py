"""Where the second derivatives of a function come from."""

from __future__ import annotations

from nlsq.problem.vector_function.called_back import CalledBack
from nlsq.problem.vector_function.function import GIVEN, ZERO, Parts, SecondDerivatives
from nlsq.problem.vector_function.options import Options


def second_derivatives(options: Options, m: int, parts: Parts) -> SecondDerivatives:
    """Return the second derivatives of a function: the user's, else exact ones, else none.

    Parameters
    ----------
    options : Options
        What the user gave.
    m : int
        Number of values.
    parts : Parts
        How the function is evaluated.
    """
    given = options.given_hessian
    if given is not None:
        if parts.called_back is None:
            parts.called_back = CalledBack(options.name, m, options.n)
        return SecondDerivatives(parts.called_back.hessian(given), 0, GIVEN)
    reason = "its graph is not known" if parts.residual is None else ""
    if parts.residual is not None:
        exact = parts.residual.hessian
        if exact.zero:
            return SecondDerivatives(kind=ZERO, is_zero=True)
        if exact.address:
            return SecondDerivatives(exact.address, parts.residual.data_address, parts.exact_kind)
        reason = exact.reason
    return SecondDerivatives(reason=reason)
