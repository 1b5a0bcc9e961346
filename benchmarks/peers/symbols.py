"""Plain numpy functions as CasADi expressions: the same source runs on arrays of symbols.

numpy applies arithmetic to the elements of an object array, and a function such as ``np.exp`` by calling the method
``exp`` of each. `Symbol` is a scalar CasADi expression with these methods, so that slices, ``@``, ``np.concatenate``
and ``np.sum`` work unchanged; comparisons, and what needs values, fail.
"""

import numpy as np

__all__ = ["Symbol", "expressions", "symbols"]

FUNCTIONS = ("sqrt", "exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh", "arcsin", "arccos", "arctan")
CASADI_NAMES = {"arcsin": "asin", "arccos": "acos", "arctan": "atan"}


class Symbol:
    """A scalar expression in ``sx``, for elements of numpy's object arrays."""

    __slots__ = ("sx",)

    def __init__(self, sx):
        self.sx = sx

    def __add__(self, other):
        return Symbol(self.sx + _plain(other))

    def __sub__(self, other):
        return Symbol(self.sx - _plain(other))

    def __rsub__(self, other):
        return Symbol(_plain(other) - self.sx)

    def __mul__(self, other):
        return Symbol(self.sx * _plain(other))

    def __truediv__(self, other):
        return Symbol(self.sx / _plain(other))

    def __rtruediv__(self, other):
        return Symbol(_plain(other) / self.sx)

    def __pow__(self, other):
        exponent = _plain(other)
        return Symbol(self.sx * self.sx if isinstance(exponent, float) and exponent == 2.0 else self.sx**exponent)

    def __rpow__(self, other):
        return Symbol(_plain(other) ** self.sx)

    def __neg__(self):
        return Symbol(-self.sx)

    def __pos__(self):
        return self

    def conjugate(self):
        return self

    __radd__ = __add__
    __rmul__ = __mul__


def _plain(value):
    """Return a value that CasADi's operators take: an expression or a float."""
    return value.sx if isinstance(value, Symbol) else float(value)


def _method(name):
    """Return the method that numpy's function of that name calls on an element."""

    def method(self):
        import casadi

        return Symbol(getattr(casadi, CASADI_NAMES.get(name, name))(self.sx))

    return method


for _name in FUNCTIONS:
    setattr(Symbol, _name, _method(_name))


def symbols(n):
    """Return CasADi's variable, shape (n, 1), and an array of its elements, shape (n,)."""
    import casadi

    variable = casadi.SX.sym("x", n)
    array = np.empty(n, dtype=object)
    array[:] = [Symbol(element) for element in casadi.vertsplit(variable)]
    return variable, array


def expressions(values):
    """Return an array of symbols and numbers as one CasADi column."""
    import casadi

    return casadi.vertcat(*[_plain(value) for value in np.ravel(values)])
