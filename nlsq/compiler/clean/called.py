"""What calls do to abstract values: listed functions, methods of data, and Python functions, which are followed.

A Python function is interpreted anew for each combination of arguments (results are kept), because what it may change
depends on whose its arguments are. A function that is called while it runs is recursive and refused.
"""

from __future__ import annotations

import functools
import inspect
import types
from typing import Any

from nlsq.compiler.clean.abstract_values import (
    ARRAY,
    COUNT,
    DTYPE,
    FRESH,
    NUMBER,
    OUTSIDE,
    TEXT,
    VALUE,
    Bound,
    Data,
    Items,
    Known,
    Local,
    OneOf,
    Value,
    items,
    join,
    join_all,
)
from nlsq.compiler.clean.allowed import DATA_METHODS, KEYWORDS, TEXT_METHODS, Rule, is_library, is_other_type, rule_of
from nlsq.compiler.clean.arguments import Arguments, bound
from nlsq.compiler.clean.dependencies import Holder, Record
from nlsq.compiler.clean.operations import SHAPE, Operations, in_words
from nlsq.compiler.clean.outside import Refusal, admit, name_of, numeric_type, python_function, values_of

__all__ = ["Calls"]

MAX_CALLS = 30  # within each other
MANY_NUMBERS = Data(FRESH, FRESH, "container")


class Calls(Operations):
    """Follows calls.

    Parameters
    ----------
    record : Record
        Where lookups are noted.
    paths : dict
        The examined function and those that its cells lead to, with the names of the cells on the way: their own cells,
        defaults and code are compared apart.
    """

    def __init__(self, record: Record, paths: dict[types.FunctionType, tuple[str, ...]]) -> None:
        super().__init__(record)
        self.paths = paths
        self.running: list[types.CodeType] = []
        self.results: dict[Any, Value] = {}

    def run(self, code: types.CodeType, variables: dict[str, Value], free: dict[str, Any], home: Any) -> Value:
        """Interpret a code object; see `nlsq.compiler.clean.bytecode`."""
        raise NotImplementedError

    def owner_of(self, function: types.FunctionType) -> Any:
        """How a holder names the function: by the way to it from the examined one, if there is one."""
        return self.paths.get(function, function)

    def call(self, callee: Value, arguments: Arguments, home: types.FunctionType) -> Value:
        """Give the result of a call made in `home`."""
        if type(callee) is Known:
            return self._call_known(callee, arguments, home)
        if type(callee) is Local:
            return self._call_local(callee, arguments, home)
        if type(callee) is Bound:
            if isinstance(callee.function, str):
                return self._call_data_method(callee.function, callee.receiver, arguments)
            arguments.positional.insert(0, callee.receiver)
            return self._call_known(callee.function, arguments, home)
        if type(callee) is OneOf and callee.choices:
            return join_all([self.call(choice, arguments, home) for choice in callee.choices])
        raise Refusal(f"calls {in_words(callee)}")

    # -- listed functions -----------------------------------------------------------------------------------------

    def _call_known(self, callee: Known, arguments: Arguments, home: types.FunctionType) -> Value:
        function = callee.object
        rule = rule_of(function)
        if rule is not None:
            return self._call_listed(function, rule, arguments)
        if function is functools.reduce:
            return self._call_reduce(arguments, home)
        if type(function) is functools.partial:
            return self._call_partial(function, arguments, home)
        found = python_function(function, self.record)
        if found is not None and not is_library(found[0]):
            return self._call_python(
                found[0], Arguments(**{**vars(arguments), "positional": [*found[1], *arguments.positional]})
            )
        name = name_of(function)
        if not name:
            raise Refusal(f"calls {in_words(callee)}, an object with state")
        module = getattr(function, "__module__", None) or type(getattr(function, "__self__", None)).__module__
        place = "" if module == "builtins" else f"{module}."
        raise Refusal(f"calls {place}{name}, which is not on the list of functions without side effects")

    def _call_partial(self, function: Any, arguments: Arguments, home: types.FunctionType) -> Value:
        before = [
            admit(value, Holder("element", index, function), self.record) for index, value in enumerate(function.args)
        ]
        for name, value in function.keywords.items():
            self.record.entry(function.keywords, name, value)
        named = {
            name: admit(value, Holder("element", name, function), self.record)
            for name, value in function.keywords.items()
        }
        whole = Arguments(**vars(arguments))
        whole.positional = [*before, *arguments.positional]
        whole.keywords = {**named, **arguments.keywords}
        if arguments.outside is not None:
            whole.outside = tuple(len(before) + position for position in arguments.outside)
        return self.call(admit(function.func, Holder("element", "func", function), self.record), whole, home)

    def _call_reduce(self, arguments: Arguments, home: types.FunctionType) -> Value:
        given = arguments.positional
        if arguments.rest is not None or not 2 <= len(given) <= 3:
            raise Refusal("calls functools.reduce with arguments that cannot be told apart")
        element = self.element(given[1])
        start = given[2] if len(given) == 3 else element
        once = self.call(given[0], Arguments([start, element]), home)
        again = self.call(given[0], Arguments([join(start, once), element]), home)
        if join(once, again) != once:  # the result may take part in the next call
            raise Refusal("calls functools.reduce with a function that is not understood")
        return join(start, once)

    def _call_listed(self, function: Any, rule: Rule, arguments: Arguments) -> Value:
        name = name_of(function)
        if rule.result == "exception":
            return VALUE
        if rule.result == "operator":
            if len(arguments.positional) != 2 or len(arguments.every()) != 2:
                raise Refusal(f"calls {name} with other than two arguments")
            return self.binary(arguments.positional[0], arguments.positional[1])
        if rule.result in ("list", "tuple", "dict", "zip", "enumerate", "reversed"):
            return self._call_container(rule.result, arguments)
        if arguments.outside is not None:
            raise Refusal(f"{name} is to be called directly: wrap it in a lambda")
        if arguments.named_rest is not None or (arguments.rest is not None and rule.positional < 99):
            raise Refusal(f"calls {name} with arguments that cannot be told apart")
        if len(arguments.positional) > rule.positional:
            raise Refusal(f"calls {name} with an argument that it may write to")
        self._require_harmless_keywords(name, arguments)
        level = NUMBER
        for value in arguments.every():
            if rule.creates and type(value) is Items:
                self.reach(value)  # its elements are copied
                level = max(level, FRESH)
                continue
            data = self._argument(name, value)
            level = max(level, data.owner, data.inner)
        if rule.result == "view":
            return Data(max(FRESH, level), max(FRESH, level), "array")
        if rule.result == "range":
            return Items((COUNT,), "iterator", 1)
        if rule.result == "slice":
            return Data(FRESH, FRESH, "slice")
        if rule.result == "shape":
            return SHAPE
        return COUNT if rule.result == "count" or (rule.result == "numbers" and level == NUMBER) else ARRAY

    def _argument(self, name: str, value: Value) -> Data:
        """Admit an argument of a listed function: data, a type of numbers, or a text that stands in the code."""
        if type(value) is Known and numeric_type(value):
            return DTYPE
        data = self.as_data(value)
        if data.form == "text":
            if not (type(value) is Known and value.constant):
                raise Refusal(f"hands a text to {name}")
            if is_other_type(value.object):
                raise Refusal(f"hands the data type {value.object!r} to {name}")
        return data

    def _require_harmless_keywords(self, name: str, arguments: Arguments) -> None:
        for keyword, value in arguments.keywords.items():
            if keyword not in KEYWORDS:
                raise Refusal(f"calls {name} with {keyword}=")
            if keyword == "dtype":
                plain = (type(value) is Known and (numeric_type(value) or value.object is None)) or value == DTYPE
                if not plain:
                    raise Refusal(f"calls {name} with a dtype= that is not known to be a type of numbers")

    def _call_container(self, kind: str, arguments: Arguments) -> Value:
        elements = [self.element(value) for value in arguments.positional]
        if arguments.rest is not None:
            elements.append(self.element(arguments.rest))
        if kind == "dict":
            pairs = [self.unpacked(element, 2)[1] for element in elements]
            extra = [arguments.named_rest] if arguments.named_rest is not None else []
            return items([*pairs, *arguments.keywords.values(), *extra], "list")
        if kind == "enumerate":
            return items([items([COUNT, elements[0]], "tuple")] if elements else [], "iterator")
        if kind == "zip":
            if arguments.rest is not None:
                return items([items([join_all(elements)], "iterator")], "iterator")
            return items([items(elements, "tuple")] if elements else [], "iterator")
        first = arguments.positional[0] if arguments.positional else None
        if kind == "tuple" and type(first) is Items and first.kind == "tuple":
            return first
        return items(elements, "list" if kind == "list" else "iterator")

    # -- methods of data ------------------------------------------------------------------------------------------

    def _call_data_method(self, name: str, receiver: Value, arguments: Arguments) -> Value:
        given = arguments.positional
        if name in TEXT_METHODS and (type(receiver) is not Items and self.as_data(receiver).form == "text"):
            if any(self.as_data(value).owner != NUMBER for value in arguments.every()):
                raise Refusal(f"hands an argument to the text method .{name}")
            return Items((TEXT,), "iterator", 1) if name == "split" else TEXT if name != "startswith" else VALUE
        result, limit = DATA_METHODS[name]
        if arguments.rest is not None and limit < 9:
            raise Refusal(f"calls .{name} with arguments that cannot be told apart")
        if len(given) > limit:
            raise Refusal(f"calls .{name} with an argument that it may write to")
        if result == "change":
            return self._change(name, receiver, arguments)
        self._require_harmless_keywords(f".{name}", arguments)
        for value in arguments.every():
            self._argument(f".{name}", value)
        if result == "read":
            return self._read(name, receiver, arguments)
        data = self.as_data(receiver)
        if result == "view":
            return Data(max(FRESH, data.owner), max(FRESH, data.inner), "array")
        if name == "copy" and type(receiver) is Items:
            return items(receiver.items, "list")
        if data.form == "container" or (data.form == "any" and data.owner in (FRESH, OUTSIDE)):
            return Data(FRESH, max(FRESH, data.inner, self.level), "any")
        return COUNT if data.owner == NUMBER else MANY_NUMBERS if name == "tolist" else ARRAY

    def _change(self, name: str, receiver: Value, arguments: Arguments) -> Value:
        self.require_fresh(receiver, f"calls .{name} of")
        if arguments.keywords:
            raise Refusal(f"calls .{name} with {next(iter(arguments.keywords))}=")
        if name in ("sort", "fill", "reverse"):
            for value in arguments.positional:
                self.reach(value)
            return VALUE
        for value in arguments.positional:
            self.put(self.reach(value))
        return self.element(receiver) if name == "pop" else VALUE

    def _read(self, name: str, receiver: Value, arguments: Arguments) -> Value:
        if name in ("index", "count"):
            self.as_data(receiver)
            return COUNT
        if name == "keys":
            self.as_data(receiver)
            return Items((TEXT,), "iterator", 1)
        if type(receiver) is Known and type(receiver.object) in (tuple, list, dict):
            found = values_of(receiver, self.record) or [VALUE]
        else:
            found = [self.element(receiver)]
        if name == "get":
            self.require_plain_key(arguments.positional[0] if arguments.positional else VALUE)
            return join_all([*found, *(arguments.positional[1:] or [VALUE])])
        if name == "items":
            return items([items([TEXT, join_all(found)], "tuple")], "iterator")
        return items(found, "iterator")

    # -- Python functions -----------------------------------------------------------------------------------------

    def visit(self, function: types.FunctionType) -> None:
        """Note everything that belongs to a function, unless it is compared apart."""
        if function in self.paths:
            return
        for name in ("__code__", "__defaults__", "__kwdefaults__"):
            self.record.attribute(function, name, getattr(function, name))
        named: dict[str, Any] = function.__kwdefaults__ or {}
        for name, value in named.items():
            self.record.entry(named, name, value)
        for cell in function.__closure__ or ():
            self.record.attribute(cell, "cell_contents", self.cell_contents(cell))

    def cell_contents(self, cell: Any) -> Any:
        """Give what a cell holds."""
        try:
            return cell.cell_contents
        except ValueError:
            raise Refusal("uses a variable of the enclosing function that is not set") from None

    def _call_python(self, function: types.FunctionType, arguments: Arguments) -> Value:
        self.visit(function)
        code = function.__code__
        owner = self.owner_of(function)
        defaults = {}
        given = function.__defaults__ or ()
        names = code.co_varnames[code.co_argcount - len(given) : code.co_argcount]
        for name, value in (*zip(names, given, strict=True), *(function.__kwdefaults__ or {}).items()):
            defaults[name] = admit(value, Holder("default", name, owner), self.record)
        variables = bound(code, defaults, arguments)
        return self._remembered(code, variables, {name: (function, name) for name in code.co_freevars}, function)

    def _call_local(self, callee: Local, arguments: Arguments, home: types.FunctionType) -> Value:
        code = callee.code
        names = code.co_varnames[code.co_argcount - len(callee.defaults) : code.co_argcount]
        defaults = dict(zip(names, callee.defaults, strict=True))
        if callee.keyword_defaults is not None:
            named = self.element(callee.keyword_defaults)
            for name in code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]:
                defaults[name] = named
        return self._remembered(code, bound(code, defaults, arguments), dict(callee.free), home)

    def _remembered(self, code: types.CodeType, variables: dict[str, Value], free: dict[str, Any], home: Any) -> Value:
        key = (code, home, tuple(variables.items()), tuple(free.items()), self.level)
        known = self.results.get(key)
        if known is not None:
            return known
        if code in self.running:
            raise Refusal(f"{code.co_name} calls itself: recursion is not followed")
        if len(self.running) >= MAX_CALLS:
            raise Refusal(f"calls are nested more than {MAX_CALLS} deep")
        is_generator = bool(code.co_flags & (inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR))
        if is_generator and code.co_name != "<genexpr>":
            raise Refusal(f"{code.co_name} is a generator or coroutine")
        self.running.append(code)
        result = self.run(code, variables, free, home)
        self.running.pop()
        self.results[key] = result
        return result
