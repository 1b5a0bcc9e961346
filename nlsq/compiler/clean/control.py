"""Handlers of the instructions that build containers, call, make functions and jump.

The table that they are entered in, and what a handler is, are in `nlsq.compiler.clean.instructions`.
"""

from __future__ import annotations

import types
from dis import Instruction
from typing import TYPE_CHECKING, Any

from nlsq.compiler.clean.abstract_values import (
    NUMBER,
    TEXT,
    TRACED_TEXT,
    Items,
    Known,
    Local,
    Null,
    Value,
    items,
)
from nlsq.compiler.clean.arguments import Arguments
from nlsq.compiler.clean.instructions import ENDED, HANDLERS, NULL_ABOVE, SLICE, VERSION, handles
from nlsq.compiler.clean.outside import Refusal

if TYPE_CHECKING:
    from nlsq.compiler.clean.bytecode import Frame

__all__: list[str] = []  # the handlers are in the table

# An exhausted iterator is popped, and the instructions that would do so at the end of the loop are jumped over.
AFTER_LOOP = {(3, 11): 0, (3, 12): 1, (3, 13): 2}.get(VERSION, 0)


# -- containers --------------------------------------------------------------------------------------------------------


@handles("BUILD_TUPLE")
def _build_tuple(frame: Frame, one: Instruction) -> None:
    frame.stack.append(items(frame.popped(one.arg or 0), "tuple"))


@handles("BUILD_LIST", "BUILD_SET")
def _build_list(frame: Frame, one: Instruction) -> None:
    frame.stack.append(items(frame.popped(one.arg or 0), "list"))


@handles("BUILD_MAP")
def _build_map(frame: Frame, one: Instruction) -> None:
    frame.stack.append(items(frame.popped(2 * (one.arg or 0))[1::2], "list"))


@handles("BUILD_CONST_KEY_MAP")
def _build_const_key_map(frame: Frame, one: Instruction) -> None:
    frame.stack.pop()
    frame.stack.append(items(frame.popped(one.arg or 0), "list"))


@handles("BUILD_STRING")
def _build_string(frame: Frame, one: Instruction) -> None:
    parts = [frame.machine.as_data(part) for part in frame.popped(one.arg or 0)]
    frame.stack.append(TEXT if all(part.owner == NUMBER for part in parts) else TRACED_TEXT)


@handles("BUILD_SLICE")
def _build_slice(frame: Frame, one: Instruction) -> None:
    for bound in frame.popped(one.arg or 0):
        frame.machine.as_data(bound)
    frame.stack.append(SLICE)


@handles("LIST_APPEND", "SET_ADD", "MAP_ADD")
def _append(frame: Frame, one: Instruction) -> None:
    """Put one item into the container that a comprehension is building."""
    value = frame.stack.pop()
    if one.opname == "MAP_ADD":
        frame.stack.pop()
    place = -(one.arg or 0)
    frame.stack[place] = frame.machine.extended(frame.stack[place], value)


@handles("LIST_EXTEND", "SET_UPDATE", "DICT_UPDATE", "DICT_MERGE")
def _extend(frame: Frame, one: Instruction) -> None:
    """Put the items of another container into the one that a literal or a call with `*` is building."""
    value = frame.stack.pop()
    machine, place = frame.machine, -(one.arg or 0)
    if one.opname.startswith("DICT") and type(value) is Known and type(value.object) is dict:
        value = machine.call(machine.attribute(value, "values"), Arguments(), frame.home)
    frame.stack[place] = machine.extended(frame.stack[place], machine.element(value))


@handles("LIST_TO_TUPLE")
def _list_to_tuple(frame: Frame, one: Instruction) -> None:
    value = frame.stack.pop()
    frame.stack.append(items(value.items, "iterator") if type(value) is Items else frame.machine.as_data(value))


@handles("CALL_INTRINSIC_1")
def _call_intrinsic(frame: Frame, one: Instruction) -> None:
    """Two of the interpreter's own functions: the plus sign (5) and list to tuple (6)."""
    if one.arg not in (5, 6):
        raise Refusal(f"uses the interpreter's function {one.argrepr or one.arg}")
    HANDLERS["UNARY_POSITIVE" if one.arg == 5 else "LIST_TO_TUPLE"](frame, one)


@handles("UNPACK_SEQUENCE")
def _unpack_sequence(frame: Frame, one: Instruction) -> None:
    found = frame.machine.unpacked(frame.stack.pop(), one.arg or 0)
    frame.stack += reversed(found)


@handles("UNPACK_EX")
def _unpack_ex(frame: Frame, one: Instruction) -> None:
    """`first, *rest, last = value`: the low byte counts those before the star, the rest those after."""
    argument = one.arg or 0
    element = frame.machine.element(frame.stack.pop())
    frame.stack += [element] * (argument >> 8)
    frame.stack.append(items([element], "list"))
    frame.stack += [element] * (argument & 255)


# -- calls and functions -----------------------------------------------------------------------------------------------


def _callee(frame: Frame, count: int) -> tuple[Value, list[Value]]:
    """Take a callable and its arguments off the stack, below which, or between which, the empty entry stands."""
    arguments = frame.popped(count)
    lower, upper = frame.popped(2)
    if type(lower) is Null:
        return upper, arguments
    # A comprehension's function with its iterator, or a callable with the empty entry above it.
    return lower, arguments if type(upper) is Null else [upper, *arguments]


@handles("KW_NAMES")
def _kw_names(frame: Frame, one: Instruction) -> None:
    frame.keywords = frame.code.co_consts[one.arg or 0]


@handles("CALL", "CALL_KW")
def _call(frame: Frame, one: Instruction) -> None:
    names = frame.keywords
    frame.keywords = ()
    if one.opname == "CALL_KW":
        above = frame.stack.pop()
        names = above.object if type(above) is Known else ()
    callee, arguments = _callee(frame, one.arg or 0)
    first = len(arguments) - len(names)
    frame.call(callee, Arguments(arguments[:first], dict(zip(names, arguments[first:], strict=True))))


@handles("CALL_FUNCTION_EX")
def _call_function_ex(frame: Frame, one: Instruction) -> None:
    named = frame.stack.pop() if one.arg is not None and one.arg & 1 else None
    given = frame.stack.pop()
    callee, _ = _callee(frame, 0)
    arguments = Arguments()
    if type(given) is Items and given.kind == "tuple":
        arguments.positional = list(given.items)
    elif type(given) is Known and type(given.object) in (tuple, list):
        arguments.positional = frame.machine.unpacked(given, len(given.object))
    else:
        arguments.rest = frame.machine.element(given)
    if named is not None:
        arguments.named_rest = frame.machine.element(named)
    frame.call(callee, arguments)


@handles("MAKE_FUNCTION")
def _make_function(frame: Frame, one: Instruction) -> None:
    """Make a function; before 3.13 its closure, annotations and defaults lie below its code (bits 8, 4, 2, 1)."""
    made = frame.stack.pop()
    code = made.object if type(made) is Known else None
    if type(code) is not types.CodeType:
        raise IndexError
    flags = 0 if NULL_ABOVE else one.arg or 0
    parts: dict[int, Value] = {bit: frame.stack.pop() for bit in (8, 4, 2, 1) if flags & bit}
    frame.stack.append(_with_defaults(Local(code, _closure(frame, code)), parts))


@handles("SET_FUNCTION_ATTRIBUTE")
def _set_function_attribute(frame: Frame, one: Instruction) -> None:
    part, made = frame.popped(2)
    if type(made) is not Local:
        raise IndexError
    frame.stack.append(_with_defaults(made, {one.arg or 0: part}))


def _closure(frame: Frame, code: types.CodeType) -> tuple[tuple[str, Any], ...]:
    """Give, for each free variable of an inner function, the code or function in whose cell it lives."""
    return tuple((name, frame.free.get(name, (frame.code, name))) for name in code.co_freevars)


def _with_defaults(made: Local, parts: dict[int, Value]) -> Local:
    defaults, keyword_defaults = made.defaults, made.keyword_defaults
    if 1 in parts:
        given = parts[1]
        if type(given) is Known and given.constant:
            defaults = tuple(Known(value, True) for value in given.object)
        elif type(given) is Items and given.kind == "tuple":
            defaults = given.items
        else:
            raise IndexError
    keyword_defaults = parts.get(2, keyword_defaults)
    return Local(made.code, made.free, defaults, keyword_defaults)


# -- jumps -------------------------------------------------------------------------------------------------------------


@handles("JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT")
def _jump(frame: Frame, one: Instruction) -> int:
    return frame.index_of[one.argval]


def _branch(frame: Frame, one: Instruction) -> None:
    frame.arrive(frame.index_of[one.argval])


@handles(
    "POP_JUMP_IF_TRUE",
    "POP_JUMP_IF_FALSE",
    *(f"POP_JUMP_{way}_IF_{truth}" for way in ("FORWARD", "BACKWARD") for truth in ("TRUE", "FALSE")),
)
def _jump_if(frame: Frame, one: Instruction) -> None:
    frame.machine.truth(frame.stack.pop())
    _branch(frame, one)


@handles(
    "POP_JUMP_IF_NONE",
    "POP_JUMP_IF_NOT_NONE",
    *(f"POP_JUMP_{way}_IF_{truth}" for way in ("FORWARD", "BACKWARD") for truth in ("NONE", "NOT_NONE")),
)
def _jump_if_none(frame: Frame, one: Instruction) -> None:
    frame.stack.pop()
    _branch(frame, one)


@handles("JUMP_IF_TRUE_OR_POP", "JUMP_IF_FALSE_OR_POP")
def _jump_or_pop(frame: Frame, one: Instruction) -> None:
    frame.machine.truth(frame.stack[-1])
    _branch(frame, one)
    frame.stack.pop()


@handles("GET_ITER")
def _get_iter(frame: Frame, one: Instruction) -> None:
    value = frame.stack.pop()
    frame.stack.append(items([frame.machine.element(value)], "iterator"))


@handles("FOR_ITER")
def _for_iter(frame: Frame, one: Instruction) -> None:
    iterator = frame.stack.pop()
    frame.arrive(frame.index_of[one.argval] + AFTER_LOOP)
    frame.stack += [iterator, frame.machine.element(iterator)]


@handles("RETURN_VALUE")
def _return_value(frame: Frame, one: Instruction) -> int:
    value = frame.stack.pop()
    if frame.code.co_name != "<genexpr>":
        frame.results.append(value)
    return ENDED


@handles("RETURN_CONST")
def _return_const(frame: Frame, one: Instruction) -> int:
    if frame.code.co_name != "<genexpr>":
        frame.results.append(Known(one.argval, True))
    return ENDED


@handles("RAISE_VARARGS")
def _raise_varargs(frame: Frame, one: Instruction) -> int:
    return ENDED
