"""Where the second derivatives of a function come from: the user, its graph, dual numbers, or its Jacobian."""

from __future__ import annotations

import numpy as np

from nlsq.pattern import SparsityPattern
from nlsq.problem.compiled_residual import WeightedHessian
from nlsq.problem.vector_function.called_back import CalledBack
from nlsq.problem.vector_function.options import Options
from nlsq.problem.vector_function.parts import (
    EXACT_DUAL,
    EXACT_GRAPH,
    GIVEN,
    OF_JACOBIAN,
    ZERO,
    Parts,
    SecondDerivatives,
)
from nlsq.problem.vector_function.sparse import GivenHessian

MOST_ENTRIES = 2**24  # of dense matrices: 128 MiB
PRECISE = (EXACT_GRAPH, EXACT_DUAL, GIVEN, "cs")  # Jacobians whose differences have digits


def second_derivatives(options: Options, m: int, parts: Parts) -> SecondDerivatives:
    """Return the second derivatives of a function: the user's, else exact ones, else differences of its Jacobian.

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
    if parts.is_affine():
        return SecondDerivatives(kind=ZERO, is_zero=True)
    if options.n * (options.n + m) > MOST_ENTRIES:
        return SecondDerivatives(reason=f"dense ones for {options.n} parameters and {m} values need too much memory")
    reason = ""
    if parts.residual is not None:
        exact = parts.residual.hessian
        if exact.zero:
            return SecondDerivatives(kind=ZERO, is_zero=True)
        if exact.address:
            return SecondDerivatives(exact.address, parts.residual.data_address, parts.exact_kind)
        reason = exact.reason
    if parts.jacobian_kind not in PRECISE:
        beside = f"its Jacobian is estimated ({parts.jacobian_kind}), so that differences of it have no digits"
        return SecondDerivatives(reason=f"{reason}; {beside}" if reason else beside)
    from nlsq.derivatives.second_order import DifferenceHessian

    found = DifferenceHessian(
        parts.dense_jacobian,
        parts.data,
        m,
        options.x0,
        lower=options.lower,
        upper=options.upper,
        scale=options.sizes_given,
    )
    parts.alive.append(found)
    return SecondDerivatives(found.address, found.data_address, OF_JACOBIAN, reason)


def sparse_second_derivatives(options: Options, m: int, parts: Parts) -> tuple[WeightedHessian | None, str]:
    """Return the second derivatives as a sparse matrix, and where they come from, in words.

    The user's; else from the graph; else by coloured differences of the Jacobian.
    """
    given = options.given_hessian
    if given is not None:
        pattern = _everywhere(m, options.n) if parts.sparse is None else parts.sparse.pattern
        return GivenHessian(options.name, given, options.x0, pattern), GIVEN
    if parts.residual is not None:
        exact = parts.residual.sparse_hessian
        if exact is not None:
            return exact, parts.exact_kind
    if parts.sparse is None or parts.jacobian_kind not in PRECISE:
        return None, ""
    from nlsq.derivatives.second_order import colored_hessian

    differences = colored_hessian(
        parts.sparse.jacobian,
        parts.sparse.pattern,
        options.x0,
        lower=options.lower,
        upper=options.upper,
        scale=options.sizes_given,
    )
    return (None, "") if differences is None else (differences, OF_JACOBIAN)


def _everywhere(m: int, n: int) -> SparsityPattern:
    return SparsityPattern.from_dense(np.ones((m, n), dtype=np.bool_))
