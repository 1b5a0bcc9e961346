"""Abstract interpretation of CPython bytecode, versions 3.11 to 3.13.

Each instruction is run on abstract values (`nlsq.compiler.clean.abstract_values`) instead of real ones. Where branches
meet, the states are joined; a loop is run until its state no longer grows. Both sides of every branch are taken. An
instruction that has no handler here is refused, and so is an unknown version of Python.

References
----------
.. [1] P. Cousot and R. Cousot, "Abstract interpretation: a unified lattice model for static analysis of programs by
   construction or approximation of fixpoints", POPL 1977.
.. [2] The Python documentation of the module `dis`, versions 3.11, 3.12 and 3.13.
"""

from __future__ import annotations

import dis
import types
from typing import Any

from nlsq.compiler.clean import control  # noqa: F401  (it enters handlers into the table)
from nlsq.compiler.clean.abstract_values import VALUE, Null, Value, items, join, join_all
from nlsq.compiler.clean.arguments import Arguments
from nlsq.compiler.clean.called import Calls
from nlsq.compiler.clean.dependencies import Holder
from nlsq.compiler.clean.instructions import ENDED, HANDLERS
from nlsq.compiler.clean.outside import Refusal, admit

__all__ = ["Frame", "Interpreter", "Unclean"]

MAX_STEPS = 20_000  # instructions in one run of one function

REASONS = {
    "PUSH_EXC_INFO": "uses try or with",
    "BEFORE_WITH": "uses with",
    "BEFORE_ASYNC_WITH": "uses async with",
    "STORE_GLOBAL": "writes the global variable {!r}",
    "DELETE_GLOBAL": "deletes the global variable {!r}",
    "STORE_ATTR": "stores the attribute .{}",
    "DELETE_ATTR": "deletes the attribute .{}",
    "DELETE_SUBSCR": "deletes an item",
    "DELETE_DEREF": "deletes a shared variable",
    "LOAD_BUILD_CLASS": "defines a class",
    "MATCH_CLASS": "asks for a type (match)",
    "MATCH_SEQUENCE": "asks for a type (match)",
    "MATCH_MAPPING": "asks for a type (match)",
    "LOAD_SUPER_ATTR": "uses super()",
    "SEND": "uses yield from or await",
    "GET_YIELD_FROM_ITER": "uses yield from",
}


class Unclean(Exception):
    """The function may not be traced.

    Attributes
    ----------
    reason : str
        Why, in words.
    function : str
        The name of the function in which the reason stands.
    line : int
        The line of its file.
    """

    def __init__(self, reason: str, function: str, line: int) -> None:
        super().__init__(f"{function}, line {line}: {reason}")
        self.reason = reason
        self.function = function
        self.line = line


class Interpreter(Calls):
    """Follows calls, and interprets the functions that are called."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.cells: dict[tuple[types.CodeType, str], Value] = {}

    def run(self, code: types.CodeType, variables: dict[str, Value], free: dict[str, Any], home: Any) -> Value:
        """Interpret a code object from its first instruction."""
        return Frame(self, code, variables, free, home).run()


class Frame:
    """One run of one code object.

    Parameters
    ----------
    machine : Interpreter
        Calls and operators.
    code : code
        What is run.
    variables : dict
        The parameters.
    free : dict
        For each free variable, the code or function in whose cell it lives, and its name there.
    home : function
        The function whose globals the code sees.
    """

    def __init__(
        self,
        machine: Interpreter,
        code: types.CodeType,
        variables: dict[str, Value],
        free: dict[str, Any],
        home: types.FunctionType,
    ) -> None:
        self.machine = machine
        self.code = code
        self.free = free
        self.home = home
        self.variables = variables
        self.stack: list[Value] = []
        self.keywords: tuple[str, ...] = ()
        self.instructions = list(dis.get_instructions(code))
        self.index_of = {instruction.offset: index for index, instruction in enumerate(self.instructions)}
        self.states: dict[int, tuple[tuple[Value, ...], dict[str, Value]]] = {}
        self.waiting: list[int] = []
        self.results: list[Value] = []

    def run(self) -> Value:
        """Run until no state grows any more."""
        line = self.code.co_firstlineno
        try:
            for instruction in self.instructions:
                line = _line(instruction, line)
                if instruction.opname == "PUSH_EXC_INFO":
                    raise Refusal(REASONS["PUSH_EXC_INFO"])
            line = self.code.co_firstlineno
            steps = 0
            self.arrive(0)
            while self.waiting:
                index: int | None = self.waiting.pop()
                stack, variables = self.states[index]  # type: ignore[index]
                self.stack, self.variables, self.keywords = list(stack), dict(variables), ()
                while index is not None:
                    instruction = self.instructions[index]
                    line = _line(instruction, line)
                    steps += 1
                    if steps > MAX_STEPS:
                        raise Refusal("is too long to be followed")
                    index = self._step(index, instruction)
                    if index is not None and self.instructions[index].is_jump_target:
                        self.arrive(index)
                        index = None
        except Refusal as refusal:
            raise Unclean(str(refusal), self.code.co_qualname, line) from None
        result = join_all(self.results) if self.results else VALUE
        return items([result], "iterator") if self.code.co_name == "<genexpr>" else result

    def arrive(self, index: int) -> None:
        """Join the present state into the one that the instruction was last run with; run it again if that grew."""
        known = self.states.get(index)
        if known is None:
            self.states[index] = (tuple(self.stack), dict(self.variables))
            self.waiting.append(index)
            return
        stack, variables = known
        if len(stack) != len(self.stack):
            raise Refusal("has bytecode that is not understood")
        new_stack = tuple(join(a, b) for a, b in zip(stack, self.stack, strict=True))
        new_variables = dict(variables)
        for name, value in self.variables.items():
            new_variables[name] = join(variables[name], value) if name in variables else value
        if new_stack != stack or new_variables != variables:
            self.states[index] = (new_stack, new_variables)
            self.waiting.append(index)

    def _step(self, index: int, instruction: dis.Instruction) -> int | None:
        """Run one instruction; give the index of the next, or None at the end of a path."""
        name = instruction.opname
        handler = HANDLERS.get(name)
        if handler is None:
            reason = REASONS.get(name, f"uses the instruction {name}, which the check does not know")
            raise Refusal(reason.format(instruction.argval))
        try:
            target = handler(self, instruction)
        except IndexError:  # the stack is not as the handler expects
            raise Refusal(f"uses {name} in a way that is not understood") from None
        if target is None:
            return index + 1
        return None if target == ENDED else target

    # -- small pieces that handlers share ---------------------------------------------------------------------------

    def popped(self, count: int) -> list[Value]:
        """Take this many values off the stack, in the order in which they were pushed."""
        if count == 0:
            return []
        if count > len(self.stack):
            raise IndexError
        values = self.stack[-count:]
        del self.stack[-count:]
        return values

    def load(self, name: str) -> Value:
        """Read a local variable."""
        if name in self.code.co_cellvars or name in self.code.co_freevars:
            return VALUE  # the cell itself, on its way into a closure
        if name not in self.variables:
            raise Refusal(f"reads {name!r} before it is set")
        return self.variables[name]

    def keep(self, name: str, value: Value) -> None:
        """Set a local variable; the empty entry, which restores an unset one, unsets it."""
        if type(value) is Null:
            self.variables.pop(name, None)
        else:
            self.variables[name] = value

    def load_cell(self, name: str) -> Value:
        """Read a variable that is shared with another function."""
        holder, inner_name = self.free.get(name, (self.code, name))
        if isinstance(holder, types.FunctionType):
            cell = holder.__closure__[holder.__code__.co_freevars.index(inner_name)]  # type: ignore[index]
            where = Holder("cell", inner_name, self.machine.owner_of(holder))
            return admit(self.machine.cell_contents(cell), where, self.machine.record)
        if (holder, inner_name) not in self.machine.cells:
            raise Refusal(f"reads {name!r} before it is set")
        return self.machine.cells[holder, inner_name]

    def keep_cell(self, name: str, value: Value) -> None:
        """Set a variable of this function that inner functions share: all values it ever has are joined."""
        key = (self.code, name)
        known = self.machine.cells.get(key)
        joined = value if known is None else join(known, value)
        if known is None or joined != known:
            self.machine.changed = self.machine.changed or known is not None
            self.machine.cells[key] = joined

    def call(self, callee: Value, arguments: Arguments) -> None:
        """Call, and push the result."""
        self.stack.append(self.machine.call(callee, arguments, self.home))


def _line(instruction: dis.Instruction, line: int) -> int:
    """Give the source line of an instruction, or the last one known."""
    positions = instruction.positions
    return positions.lineno if positions is not None and positions.lineno else line
