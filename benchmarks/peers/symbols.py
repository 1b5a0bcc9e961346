"""Plain numpy functions as CasADi expressions: the same source runs on arrays of symbols.

numpy applies arithmetic to the elements of an object array, and a function such as ``np.exp`` by calling the method
``exp`` of each. `Symbol` is a scalar CasADi expression with these methods, so that slices, ``@``, ``np.concatenate``
and ``np.sum`` work unchanged; comparisons, and what needs values, fail.
"""

import operator

import numpy as np

__all__ = ["Symbol", "expressions", "symbols"]

OPERATORS = ("add", "sub", "mul", "truediv", "pow")
FUNCTIONS = {"arcsin": "asin", "arccos": "acos", "arctan": "atan"}  # numpy's name: CasADi's
FUNCTIONS |= {name: name for name in ("sqrt", "exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh")}


class Symbol:
    """A scalar expression in ``sx``, for elements of numpy's object arrays."""

    __slots__ = ("sx",)

    def __init__(self, sx):
        self.sx = sx

    def __neg__(self):
        return Symbol(-self.sx)

    def __pos__(self):
        return self

    def conjugate(self):
        return self


def _plain(value):
    """Return a value that CasADi's operators take: an expression or a float."""
    return value.sx if isinstance(value, Symbol) else float(value)


def _operator(name, reflected):
    """Return the method of an operator of Python's; arrays are left to numpy, element by element."""
    apply = getattr(operator, name)

    def method(self, other):
        if isinstance(other, np.ndarray) and other.ndim:
            return NotImplemented
        other = _plain(other)
        if name == "pow" and not reflected and isinstance(other, float) and other == 2.0:
            return Symbol(self.sx * self.sx)
        return Symbol(apply(other, self.sx) if reflected else apply(self.sx, other))

    return method


def _function(name):
    """Return the method that numpy's function calls on an element, by CasADi's name of it."""

    def method(self):
        import casadi

        return Symbol(getattr(casadi, name)(self.sx))

    return method


for _name in OPERATORS:
    setattr(Symbol, f"__{_name}__", _operator(_name, reflected=False))
    setattr(Symbol, f"__r{_name}__", _operator(_name, reflected=True))
for _name, _casadi_name in FUNCTIONS.items():
    setattr(Symbol, _name, _function(_casadi_name))


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
