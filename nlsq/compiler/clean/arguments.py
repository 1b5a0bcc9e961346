"""The arguments of a call on abstract values, and how they are bound to the parameters of a Python function."""

from __future__ import annotations

import inspect
import types
from dataclasses import dataclass, field

from nlsq.compiler.clean.abstract_values import (
    ARGUMENT,
    OUTSIDE,
    TEXT,
    TRACED_TEXT,
    Data,
    Known,
    Value,
    items,
    join,
    join_all,
)
from nlsq.compiler.clean.outside import Refusal

__all__ = ["Arguments", "bound"]

FROM_CALLER = Data(ARGUMENT, ARGUMENT, "any")
FROM_OUTSIDE = Data(OUTSIDE, OUTSIDE, "array")


@dataclass
class Arguments:
    """The arguments of a call.

    Attributes
    ----------
    positional : list
        Those that stand one by one.
    keywords : dict
        Those with a name.
    rest, named_rest : value or None
        What any argument of `*rest` or `**named_rest` may be.
    outside : tuple of int or None
        For the call of the examined function itself: the positions of arguments that are bound to outside objects.
    """

    positional: list[Value] = field(default_factory=list)
    keywords: dict[str, Value] = field(default_factory=dict)
    rest: Value | None = None
    named_rest: Value | None = None
    outside: tuple[int, ...] | None = None

    def every(self) -> list[Value]:
        """All of them, in no order."""
        extra = [value for value in (self.rest, self.named_rest) if value is not None]
        return [*self.positional, *self.keywords.values(), *extra]


def bound(code: types.CodeType, defaults: dict[str, Value], arguments: Arguments) -> dict[str, Value]:
    """Bind arguments to parameters."""
    variables: dict[str, Value] = {}
    positional = arguments.positional
    keywords = dict(arguments.keywords)
    count = code.co_argcount
    outside = arguments.outside or ()
    for index, name in enumerate(code.co_varnames[: count + code.co_kwonlyargcount]):
        default = defaults.get(name)
        if index < min(len(positional), count):
            variables[name] = positional[index]
        elif name in keywords:
            variables[name] = keywords.pop(name)
        elif arguments.outside is not None and index < count:
            variables[name] = FROM_OUTSIDE if index in outside else _traced_or(default)
        else:
            choices = [arguments.rest] if index < count else []
            choices += [arguments.named_rest, default]
            possible = [value for value in choices if value is not None]
            if not possible:
                raise Refusal(f"{code.co_name} is called without its argument {name!r}")
            variables[name] = join_all(possible)
    further = iter(code.co_varnames[count + code.co_kwonlyargcount :])
    surplus = positional[count:]
    if code.co_flags & inspect.CO_VARARGS:
        rest = arguments.rest
        if arguments.outside is not None:
            from_outside = any(position >= count for position in outside)
            rest = join(FROM_CALLER, FROM_OUTSIDE) if from_outside else FROM_CALLER
        variables[next(further)] = items(surplus, "tuple") if rest is None else items([*surplus, rest], "iterator")
    elif surplus:
        raise Refusal(f"{code.co_name} is called with {len(positional)} positional arguments, but takes {count}")
    if code.co_flags & inspect.CO_VARKEYWORDS:
        named = [*keywords.values(), *([] if arguments.named_rest is None else [arguments.named_rest])]
        variables[next(further)] = items(named, "list")
    elif keywords:
        raise Refusal(f"{code.co_name} has no parameter {next(iter(keywords))!r}")
    return variables


def _traced_or(default: Value | None) -> Value:
    """Value a parameter of the examined function: traced, or its default when the caller leaves it out.

    Symbols are numbers and arrays, so a default that is a text, function, module or container can only be itself.
    """
    if default is None:
        return FROM_CALLER
    if type(default) is Known or default in (TEXT, TRACED_TEXT):
        return default
    return join(FROM_CALLER, default)
