"""One handler for each bytecode instruction of CPython 3.11, 3.12 and 3.13 that a clean function may contain.

A handler changes the stack and variables of the frame and returns the index of the next instruction: None for the one
that follows, ENDED at the end of a path. What differs between the versions is said where it does: the order in which a
callable and the empty entry beside it are pushed, and where a loop goes on when its iterator is exhausted.

References
----------
.. [1] The Python documentation of the module `dis`, versions 3.11, 3.12 and 3.13.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dis import Instruction
from typing import TYPE_CHECKING

from nlsq.compiler.clean.abstract_values import FRESH, NULL, VALUE, Data, Known, Value
from nlsq.compiler.clean.allowed import IMPORTABLE
from nlsq.compiler.clean.dependencies import Holder
from nlsq.compiler.clean.outside import Refusal, admit, global_value

if TYPE_CHECKING:
    from nlsq.compiler.clean.bytecode import Frame

__all__ = ["ENDED", "HANDLERS", "KNOWN_VERSIONS", "NULL_ABOVE", "SLICE", "VERSION", "handles", "push"]

VERSION = sys.version_info[:2]
KNOWN_VERSIONS = ((3, 11), (3, 12), (3, 13))
ENDED = -1

# From 3.13 on the empty entry stands above the callable.
NULL_ABOVE = VERSION >= (3, 13)
FIRST_IN_PLACE = 13  # operators of BINARY_OP from this number on are +=, -= and so on
REMAINDERS = (6, 19)  # % and %=, which format text

Handler = Callable[["Frame", Instruction], int | None]

HANDLERS: dict[str, Handler] = {}

SLICE = Data(FRESH, FRESH, "slice")


def handles(*names: str) -> Callable[[Handler], Handler]:
    """Enter a handler under the names of its instructions."""

    def enter(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return enter


def push(frame: Frame, callee: Value) -> None:
    """Push a callable with the empty entry beside it."""
    frame.stack += [callee, NULL] if NULL_ABOVE else [NULL, callee]


@handles("RESUME", "NOP", "CACHE", "COPY_FREE_VARS", "PRECALL", "EXTENDED_ARG")
def _nothing(frame: Frame, one: Instruction) -> None:
    """Leave the state as it is."""


@handles("RETURN_GENERATOR")
def _return_generator(frame: Frame, one: Instruction) -> None:
    """Begin a generator expression; the first thing it is sent is dropped by the next instruction."""
    frame.stack.append(VALUE)


@handles("YIELD_VALUE")
def _yield_value(frame: Frame, one: Instruction) -> None:
    """Give one item of a generator expression."""
    frame.results.append(frame.stack.pop())
    frame.stack.append(VALUE)


# -- constants and variables -----------------------------------------------------------------------------------------


@handles("LOAD_CONST")
def _load_const(frame: Frame, one: Instruction) -> None:
    frame.stack.append(Known(one.argval, True))


@handles("LOAD_FAST", "LOAD_FAST_CHECK")
def _load_fast(frame: Frame, one: Instruction) -> None:
    frame.stack.append(frame.load(one.argval))


@handles("LOAD_FAST_AND_CLEAR")
def _load_fast_and_clear(frame: Frame, one: Instruction) -> None:
    frame.stack.append(frame.variables.pop(one.argval, NULL))


@handles("LOAD_FAST_LOAD_FAST")
def _load_two(frame: Frame, one: Instruction) -> None:
    frame.stack += [frame.load(name) for name in one.argval]


@handles("STORE_FAST", "STORE_FAST_MAYBE_NULL")
def _store_fast(frame: Frame, one: Instruction) -> None:
    frame.keep(one.argval, frame.stack.pop())


@handles("STORE_FAST_LOAD_FAST")
def _store_load(frame: Frame, one: Instruction) -> None:
    first, second = one.argval
    frame.keep(first, frame.stack.pop())
    frame.stack.append(frame.load(second))


@handles("STORE_FAST_STORE_FAST")
def _store_two(frame: Frame, one: Instruction) -> None:
    for name in one.argval:
        frame.keep(name, frame.stack.pop())


@handles("DELETE_FAST")
def _delete_fast(frame: Frame, one: Instruction) -> None:
    frame.variables.pop(one.argval, None)


@handles("MAKE_CELL")
def _make_cell(frame: Frame, one: Instruction) -> None:
    """Move a variable into a cell; a parameter takes its value along."""
    if one.argval in frame.variables:
        frame.keep_cell(one.argval, frame.variables.pop(one.argval))


@handles("LOAD_CLOSURE")
def _load_closure(frame: Frame, one: Instruction) -> None:
    frame.stack.append(VALUE)


@handles("LOAD_DEREF")
def _load_deref(frame: Frame, one: Instruction) -> None:
    frame.stack.append(frame.load_cell(one.argval))


@handles("STORE_DEREF")
def _store_deref(frame: Frame, one: Instruction) -> None:
    if one.argval in frame.code.co_freevars:
        raise Refusal(f"writes the nonlocal variable {one.argval!r}")
    frame.keep_cell(one.argval, frame.stack.pop())


@handles("LOAD_GLOBAL")
def _load_global(frame: Frame, one: Instruction) -> None:
    machine = frame.machine
    value = global_value(one.argval, frame.home, machine.record, machine.owner_of(frame.home))
    if one.arg is not None and one.arg & 1:
        push(frame, value)
    else:
        frame.stack.append(value)


@handles("LOAD_ASSERTION_ERROR")
def _load_assertion_error(frame: Frame, one: Instruction) -> None:
    frame.stack.append(Known(AssertionError))


@handles("IMPORT_NAME")
def _import_name(frame: Frame, one: Instruction) -> None:
    """Import numpy, math or scipy.special, which must be loaded already: an import runs code."""
    name_list, level = frame.stack.pop(), frame.stack.pop()
    name = one.argval
    if name not in IMPORTABLE or name not in sys.modules or not (type(level) is Known and level.object == 0):
        raise Refusal(f"imports {name}")
    record = frame.machine.record
    record.entry(sys.modules, name, sys.modules[name])
    whole = type(name_list) is Known and name_list.object is None
    top = name.partition(".")[0] if whole else name
    frame.stack.append(admit(sys.modules[top], Holder("global", top, frame.machine.owner_of(frame.home)), record))


@handles("IMPORT_FROM")
def _import_from(frame: Frame, one: Instruction) -> None:
    frame.stack.append(frame.machine.attribute(frame.stack[-1], one.argval))


# -- the stack ---------------------------------------------------------------------------------------------------------


@handles("PUSH_NULL")
def _push_null(frame: Frame, one: Instruction) -> None:
    frame.stack.append(NULL)


@handles("POP_TOP")
def _pop_top(frame: Frame, one: Instruction) -> None:
    frame.stack.pop()


@handles("SWAP")
def _swap(frame: Frame, one: Instruction) -> None:
    stack, depth = frame.stack, one.arg or 0
    stack[-depth], stack[-1] = stack[-1], stack[-depth]


@handles("COPY")
def _copy(frame: Frame, one: Instruction) -> None:
    frame.stack.append(frame.stack[-(one.arg or 0)])


# -- operators ---------------------------------------------------------------------------------------------------------


@handles("BINARY_OP")
def _binary_op(frame: Frame, one: Instruction) -> None:
    left, right = frame.popped(2)
    machine, operator = frame.machine, one.arg or 0
    act = machine.in_place if operator >= FIRST_IN_PLACE else machine.binary
    frame.stack.append(act(left, right, operator in REMAINDERS))


@handles("UNARY_NEGATIVE", "UNARY_POSITIVE", "UNARY_INVERT")
def _unary(frame: Frame, one: Instruction) -> None:
    frame.stack.append(frame.machine.binary(frame.stack.pop(), Known(1, True)))


@handles("UNARY_NOT")
def _unary_not(frame: Frame, one: Instruction) -> None:
    frame.machine.truth(frame.stack.pop())
    frame.stack.append(VALUE)


@handles("TO_BOOL")
def _to_bool(frame: Frame, one: Instruction) -> None:
    frame.machine.truth(frame.stack[-1])


@handles("CONTAINS_OP")
def _contains(frame: Frame, one: Instruction) -> None:
    value, container = frame.popped(2)
    frame.stack.append(frame.machine.contains(value, container))


@handles("COMPARE_OP")
def _compare(frame: Frame, one: Instruction) -> None:
    left, right = frame.popped(2)
    frame.stack.append(frame.machine.compare(left, right))


@handles("IS_OP")
def _is_op(frame: Frame, one: Instruction) -> None:
    left, right = frame.popped(2)
    frame.stack.append(frame.machine.identity(left, right))


@handles("BINARY_SUBSCR")
def _subscript(frame: Frame, one: Instruction) -> None:
    value, key = frame.popped(2)
    frame.stack.append(frame.machine.subscript(value, key))


@handles("BINARY_SLICE")
def _binary_slice(frame: Frame, one: Instruction) -> None:
    value, start, stop = frame.popped(3)
    for bound in (start, stop):
        frame.machine.as_data(bound)
    frame.stack.append(frame.machine.subscript(value, SLICE))


@handles("STORE_SUBSCR")
def _store_subscript(frame: Frame, one: Instruction) -> None:
    value, container, key = frame.popped(3)
    frame.machine.store(container, key, value)


@handles("STORE_SLICE")
def _store_slice(frame: Frame, one: Instruction) -> None:
    value, container, start, stop = frame.popped(4)
    for bound in (start, stop):
        frame.machine.as_data(bound)
    frame.machine.store(container, SLICE, value)


@handles("FORMAT_VALUE")
def _format_value(frame: Frame, one: Instruction) -> None:
    if one.arg is not None and one.arg & 4:  # a format specification lies above the value
        frame.machine.as_data(frame.stack.pop())
    frame.stack.append(frame.machine.formatted(frame.stack.pop()))


@handles("FORMAT_SIMPLE", "CONVERT_VALUE")
def _format_simple(frame: Frame, one: Instruction) -> None:
    frame.stack.append(frame.machine.formatted(frame.stack.pop()))


@handles("FORMAT_WITH_SPEC")
def _format_with_spec(frame: Frame, one: Instruction) -> None:
    value, specification = frame.popped(2)
    frame.machine.as_data(specification)
    frame.stack.append(frame.machine.formatted(value))


@handles("LOAD_ATTR")
def _load_attr(frame: Frame, one: Instruction) -> None:
    value = frame.machine.attribute(frame.stack.pop(), one.argval)
    if VERSION >= (3, 12) and one.arg is not None and one.arg & 1:
        push(frame, value)
    else:
        frame.stack.append(value)


@handles("LOAD_METHOD")
def _load_method(frame: Frame, one: Instruction) -> None:
    push(frame, frame.machine.attribute(frame.stack.pop(), one.argval))
