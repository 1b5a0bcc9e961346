"""Python's operators on symbolic arrays, recorded with `apply`."""

from __future__ import annotations

from typing import Any, NoReturn

from nlsq.compiler.graph import NotTraceable

BRANCH = "a branch on a value that depends on the parameters or the data"


class Operators:
    """What has operators because it can `apply` an operation of the graph to itself and others."""

    __slots__ = ()
    __array_priority__ = 1e9
    __hash__ = None  # type: ignore[assignment]

    def apply(self, operation: str, *operands: Any) -> Any:
        """Record an elementwise operation."""
        raise NotImplementedError

    def __add__(self, other: Any) -> Any:
        return self.apply("+", self, other)

    def __radd__(self, other: Any) -> Any:
        return self.apply("+", other, self)

    def __sub__(self, other: Any) -> Any:
        return self.apply("-", self, other)

    def __rsub__(self, other: Any) -> Any:
        return self.apply("-", other, self)

    def __mul__(self, other: Any) -> Any:
        return self.apply("*", self, other)

    def __rmul__(self, other: Any) -> Any:
        return self.apply("*", other, self)

    def __truediv__(self, other: Any) -> Any:
        return self.apply("/", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return self.apply("/", other, self)

    def __floordiv__(self, other: Any) -> Any:
        return self.apply("//", self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return self.apply("//", other, self)

    def __mod__(self, other: Any) -> Any:
        return self.apply("%", self, other)

    def __rmod__(self, other: Any) -> Any:
        return self.apply("%", other, self)

    def __pow__(self, other: Any) -> Any:
        return self.apply("**", self, other)

    def __rpow__(self, other: Any) -> Any:
        return self.apply("**", other, self)

    def __neg__(self) -> Any:
        return self.apply("neg", self)

    def __abs__(self) -> Any:
        return self.apply("abs", self)

    # In place: views and arrays are changed, names of numbers bound anew

    def in_place(self, operation: str, other: Any) -> Any:
        """Give the array the result of an operation with another."""
        raise NotTraceable("an operation in place on such an array")

    def __iadd__(self, other: Any) -> Any:
        return self.in_place("+", other)

    def __isub__(self, other: Any) -> Any:
        return self.in_place("-", other)

    def __imul__(self, other: Any) -> Any:
        return self.in_place("*", other)

    def __itruediv__(self, other: Any) -> Any:
        return self.in_place("/", other)

    def __ipow__(self, other: Any) -> Any:
        return self.in_place("**", other)

    def __ifloordiv__(self, other: Any) -> Any:
        return self.in_place("//", other)

    def __imod__(self, other: Any) -> Any:
        return self.in_place("%", other)

    # Comparisons give symbolic truth values, for np.where and arithmetic

    def __lt__(self, other: Any) -> Any:
        return self.apply("<", self, other)

    def __le__(self, other: Any) -> Any:
        return self.apply("<=", self, other)

    def __gt__(self, other: Any) -> Any:
        return self.apply(">", self, other)

    def __ge__(self, other: Any) -> Any:
        return self.apply(">=", self, other)

    def __eq__(self, other: object) -> Any:
        return self.apply("==", self, other)

    def __ne__(self, other: object) -> Any:
        return self.apply("!=", self, other)

    def __and__(self, other: Any) -> Any:
        return self.apply("&", self, other)

    def __or__(self, other: Any) -> Any:
        return self.apply("|", self, other)

    def __xor__(self, other: Any) -> Any:
        return self.apply("^", self, other)

    def __invert__(self) -> Any:
        return self.apply("~", self)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    # What would need a value

    def __bool__(self) -> bool:
        raise NotTraceable(BRANCH)

    def __float__(self) -> NoReturn:
        raise NotTraceable("a conversion to a plain number")

    __int__ = __index__ = __complex__ = __float__

    def __array__(self, *arguments: Any, **options: Any) -> NoReturn:
        raise NotTraceable("a conversion to a plain array")

    def __str__(self) -> str:
        raise NotTraceable("a conversion to text")

    def __format__(self, form: str) -> str:
        raise NotTraceable("a conversion to text")

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise NotTraceable(f"a conversion to a plain array, or {name}")
        raise NotTraceable(f"the array attribute {name!r}")
