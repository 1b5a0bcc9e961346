"""Reads kernels' sources and says where a call does not fit: numba does not check calls between kernels at run time."""

import ast
import inspect
import textwrap

from nlsq.kernels.backend import primitives
from nlsq.kernels.backend.kernel import Kernel
from nlsq.kernels.backend.primitives import Primitive, WorkspacePart

BUILTINS = {"abs": None, "min": None, "max": None, "range": None, "bool": None, "int": "int", "float": "double"}
POINTED = {"double*": "double", "int*": "int"}
PRIMITIVES = {
    primitives.double_pointer: ("double*", ("int",)),
    primitives.int_pointer: ("int*", ("int",)),
    primitives.call_function: ("int", ("int", "double*", "int", "double*")),
    primitives.call_weighted: ("int", ("int", "double*", "int", "double*", "double*")),
    primitives.call_normal: ("double", ("int", "double*", "int", "double*", "double*")),
    primitives.call_step: ("int", ("int", "double*", "int*")),
    primitives.add_multiple: ("void", ("double", "double*", "double*")),
    primitives.subtract_product: (
        "void",
        ("int", "int", "int", "double*", "int", "double*", "int", "int", "double*", "int", "int"),
    ),
    primitives.call_potrf: ("int", ("int", "int", "double*", "int")),
    primitives.call_trsm: ("void", ("int", "int", "int", "double*", "int", "double*", "int")),
    primitives.call_syrk: ("void", ("int", "int", "int", "double*", "int", "double*", "int")),
    primitives.shift: (None, (None, "int")),
}
FORBIDDEN = (
    ast.Try, ast.With, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.JoinedStr, ast.List,
    ast.Dict, ast.Set, ast.Slice, ast.Raise, ast.Assert, ast.Import, ast.ImportFrom, ast.FunctionDef, ast.Global,
    ast.Nonlocal, ast.Delete, ast.Yield, ast.Await, ast.Starred, ast.NamedExpr,
)  # fmt: skip


def faults(kernel):
    """Return what is wrong in the source of `kernel`, as sentences."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kernel.function))).body[0]
    return Reader(kernel, tree).read()


class Reader:
    """Follows the types of names through one kernel, statement by statement."""

    def __init__(self, kernel, tree):
        self.kernel, self.tree, self.scope = kernel, tree, kernel.function.__globals__
        self.found = []
        names = [a.arg for a in tree.args.args]
        if len(names) != len(kernel.signature.arguments):
            self.say(tree, f"has {len(names)} parameters, its signature {len(kernel.signature.arguments)}")
        self.types = {n: _plain(t) for n, t in zip(names, kernel.signature.arguments, strict=False)}

    def say(self, node, text):
        self.found.append(f"{self.kernel.symbol}, line {getattr(node, 'lineno', 0)}: {text}")

    def read(self):
        self.find_forbidden()
        for _ in range(2):  # a name may be read above its assignment in a loop
            self.found = [f for f in self.found if "parameters, its signature" in f or "does not belong" in f]
            for statement in self.tree.body:
                self.statement(statement)
        self.returns()
        return list(dict.fromkeys(self.found))

    def find_forbidden(self):
        for node in ast.walk(self.tree):
            if node is not self.tree and isinstance(node, FORBIDDEN):
                self.say(node, f"{type(node).__name__} does not belong in a kernel")

    def statement(self, node):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self.assign(target, node.value)
        elif isinstance(node, ast.AugAssign):
            self.type_of(ast.BinOp(node.target, node.op, node.value))
        elif isinstance(node, ast.For):
            self.types[node.target.id] = "int"
            self.type_of(node.iter)
        elif isinstance(node, ast.Expr | ast.Return) and node.value is not None:
            self.type_of(node.value)
        elif isinstance(node, ast.If | ast.While):
            self.type_of(node.test)
        for part in ("body", "orelse"):
            for inner in getattr(node, part, []):
                self.statement(inner)

    def assign(self, target, value):
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, of in zip(target.elts, value.elts, strict=True):
                self.assign(one, of)
            return
        kind = self.type_of(value)
        if isinstance(target, ast.Name):
            before = self.types.get(target.id)
            if before != kind and None not in (before, kind) and {before, kind} & set(POINTED):
                self.say(target, f"{target.id} is {before} and becomes {kind}")
            self.types[target.id] = "double" if {before, kind} == {"double", "int"} else kind
        elif isinstance(target, ast.Subscript):
            place = self.type_of(target)
            if place == "int" and kind == "double":
                self.say(target, "a double is stored among integers")
            if kind in POINTED:
                self.say(target, "a pointer is stored as a number")

    def type_of(self, node):
        """Return the type of an expression, None where it cannot be told; checks the calls inside."""
        method = getattr(self, "of_" + type(node).__name__.lower(), None)
        if method is not None:
            return method(node)
        for inner in ast.iter_child_nodes(node):
            if isinstance(inner, ast.expr):
                self.type_of(inner)
        return None

    def of_constant(self, node):
        return {bool: "int", int: "int", float: "double"}.get(type(node.value))

    def of_name(self, node):
        if node.id in self.types:
            return self.types[node.id]
        return {bool: "int", int: "int", float: "double"}.get(type(self.scope.get(node.id)))

    def of_attribute(self, node):
        if not (isinstance(node.value, ast.Name) and node.value.id == "math"):
            self.say(node, f"{ast.unparse(node)}: only math has attributes in a kernel")
        return "double"

    def of_subscript(self, node):
        base = self.type_of(node.value)
        index = self.type_of(node.slice)
        if base in ("double", "int"):
            self.say(node, f"{ast.unparse(node.value)} is a number, not a pointer")
        if index not in ("int", None):
            self.say(node, f"the index {ast.unparse(node.slice)} is {index}")
        return POINTED.get(base)

    def of_binop(self, node):
        sides = {self.type_of(node.left), self.type_of(node.right)}
        if sides & set(POINTED):
            self.say(node, f"arithmetic on a pointer: {ast.unparse(node)}")
        if isinstance(node.op, ast.Div) or "double" in sides:
            return "double"
        return "int" if sides == {"int"} else None

    def of_unaryop(self, node):
        kind = self.type_of(node.operand)
        return "int" if isinstance(node.op, ast.Not) else kind

    def of_compare(self, node):
        for inner in (node.left, *node.comparators):
            self.type_of(inner)
        return "int"

    def of_boolop(self, node):
        for inner in node.values:
            self.type_of(inner)
        return "int"

    def of_ifexp(self, node):
        self.type_of(node.test)
        sides = {self.type_of(node.body), self.type_of(node.orelse)}
        return sides.pop() if len(sides) == 1 else "double" if sides == {"double", "int"} else None

    def of_call(self, node):
        kinds = [self.type_of(a) for a in node.args]
        if node.keywords:
            self.say(node, f"{ast.unparse(node.func)} is called with keywords")
        if isinstance(node.func, ast.Attribute):
            return self.of_attribute(node.func)
        name = node.func.id
        callee = self.scope.get(name)
        if isinstance(callee, Kernel):
            self.check(node, kinds, [_plain(t) for t in callee.signature.arguments])
            return _plain(callee.signature.returns)
        if isinstance(callee, WorkspacePart):
            self.check(node, kinds, ["double*", "int*", "int"] if callee.stride else ["double*", "int*"])
            return "double*"
        if isinstance(callee, Primitive):
            returns, expected = PRIMITIVES[callee]
            self.check(node, kinds, expected)
            return kinds[0] if returns is None and kinds else returns
        if callee is not None or name not in BUILTINS:
            self.say(node, f"calls {name}, which is no kernel")
            return None
        if name in ("min", "max"):
            return "double" if "double" in kinds else "int" if set(kinds) == {"int"} else None
        return kinds[0] if name == "abs" else BUILTINS[name]

    def check(self, node, kinds, expected):
        if len(kinds) != len(expected):
            self.say(node, f"{node.func.id} takes {len(expected)} arguments and is given {len(kinds)}")
            return
        for kind, wanted, value in zip(kinds, expected, node.args, strict=True):
            fits = kind is None or wanted is None or kind == wanted or (kind, wanted) == ("int", "double")
            if wanted in POINTED and kind is None:
                self.say(value, f"cannot tell that {ast.unparse(value)} is {wanted}")
            if not fits:
                self.say(value, f"{node.func.id} takes {wanted} where {ast.unparse(value)} is {kind}")

    def returns(self):
        wanted = _plain(self.kernel.signature.returns)
        values = [n.value for n in ast.walk(self.tree) if isinstance(n, ast.Return)]
        if wanted == "void":
            if any(v is not None for v in values):
                self.say(self.tree, "returns a value although its signature says void")
            return
        if not values or any(v is None for v in values):
            self.say(self.tree, f"does not return {wanted} everywhere")
        for value in values:
            kind = None if value is None else self.type_of(value)
            if kind is not None and kind != wanted and (kind, wanted) != ("int", "double"):
                self.say(value, f"returns {kind} where its signature says {wanted}")


def _plain(kind):
    return "int" if kind == "address" else kind
