"""A traced model in a file: its graph as numbers and names, nothing that is executed.

The file is JSON. Lengths that follow the number of points are written as the symbol "m"; a graph in which the number of
points occurs in another way (as ``len(x)`` in an expression, say) is one for that number alone, and is not written.
Reading checks every node against the list of operations; the kernels are compiled anew or found on disk, from the same
programs, so that another process on the same machine computes the same bits.
"""

from __future__ import annotations

import json
from inspect import Parameter, Signature
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nlsq.compiler.compile import structure
from nlsq.compiler.entries import Entry
from nlsq.compiler.graph import OPERATIONS, Graph, NotTraceable
from nlsq.compiler.interpret import output
from nlsq.compiler.tracing.trace import SEPARATE_ROWS, Segment, Trace, trace_model
from nlsq.kernels.backend import compile_disabled

if TYPE_CHECKING:
    from nlsq.fitting.traced_model import Model

FORMAT, VERSION = "nlsq model", 1
POINTS = (61, 97)  # a graph is recorded for two numbers of points, to see what follows them
FloatArray = NDArray[np.float64]


def save(model: Model, path: Any) -> None:
    """Write a model; see `Model.save`."""
    if model.kind != "model":
        raise TypeError("only models f(x, a, b, ...) can be saved, since a residual brings its data along.")
    content = model.function.content if isinstance(model.function, LoadedFunction) else content_of(model)
    try:
        LoadedFunction(content).check()
    except ValueError as error:
        raise TypeError(f"{model!r} cannot be saved: {error}") from error
    Path(path).write_text(json.dumps(content, indent=1), encoding="utf-8")


def content_of(model: Model) -> dict[str, Any]:
    """Return what is written."""
    latest = model.nlsq_route.latest
    variables = latest.trace.variables if latest is not None else 1
    traces = [_recorded(model, variables, m) for m in POINTS]
    first, second = traces
    if structure(first) != structure(second):
        raise TypeError(f"{model!r} cannot be saved: its graph depends on the number of points.")
    if first.sources or not first.sees_all:
        raise TypeError(f"{model!r} cannot be saved: it reads arrays, which would have to be saved too.")
    if first.graph.constants != second.graph.constants:
        raise TypeError(f"{model!r} cannot be saved: one of its numbers depends on the number of points.")
    graph = first.graph
    lengths = {
        a: b for one, two in zip(_shapes(first), _shapes(second), strict=True) for a, b in zip(one, two, strict=True)
    }

    def symbolic(length: int) -> Any:
        return "m" if length == POINTS[0] and lengths.get(length) == POINTS[1] else length

    if any(a != b and a != POINTS[0] for a, b in lengths.items()):
        raise TypeError(f"{model!r} cannot be saved: lengths in its graph follow the number of points in another way.")
    offsets = [one.offset for one in first.segments]
    if offsets != [one.offset for one in second.segments]:
        raise TypeError(f"{model!r} cannot be saved: it stacks outputs, whose places follow the number of points.")
    needed = graph.reachable([one.node for one in first.segments])
    places = {index: place for place, index in enumerate(needed)}
    nodes = [graph.nodes[index] for index in needed]
    constants = 1 + max((node[1] for node in nodes if node[0] == "constant"), default=-1)
    return {
        "format": FORMAT,
        "version": VERSION,
        "names": list(model.names),
        "variables": first.variables,
        "constants": [value.hex() for value in graph.constants[:constants]],
        "nodes": [_written(node, places) for node in nodes],
        "shapes": [[symbolic(length) for length in graph.shapes[index]] for index in needed],
        "segments": [
            [places[one.node], [symbolic(length) for length in one.shape], one.offset, list(one.strides)]
            for one in first.segments
        ],
        "shape": [symbolic(length) for length in first.shape],
    }


def _recorded(model: Model, variables: int, m: int) -> Trace:
    row = np.linspace(0.5, 1.5, m)
    try:
        return trace_model(model.function, row if variables == 1 else np.stack([row] * variables), model.n)
    except NotTraceable as reason:
        raise TypeError(f"{model!r} cannot be saved: it cannot be traced for {m} points: {reason}") from reason


def _shapes(trace: Trace) -> list[tuple[int, ...]]:
    return [*trace.graph.shapes, *(one.shape for one in trace.segments), trace.shape]


def _written(node: tuple[Any, ...], places: dict[int, int]) -> list[Any]:
    """Return a node with its operands at their new places."""
    if node[0] in OPERATIONS or node[0] == "sum":
        return [node[0], *(places[one] for one in node[1:])]
    return [
        float(part).hex() if isinstance(part, float) else list(part) if isinstance(part, tuple) else part
        for part in node
    ]


def load(path: Any) -> Model:
    """Read a model; see `Model.load`."""
    from nlsq.fitting.traced_model import Model

    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"{path} is no model that nlsq saved.")
        if content["format"] != FORMAT or content["version"] != VERSION:
            raise ValueError(f"{path} is a file of {content['format']!r} version {content['version']}, not {VERSION}.")
        function = LoadedFunction(content)
        function.check()
    except (LookupError, TypeError, AttributeError, RecursionError, OverflowError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no model that nlsq saved, or is damaged: {error}") from error
    return Model(function, "model", tuple(content["names"]), LoadedRoute(function))  # type: ignore[arg-type]


class LoadedFunction:
    """A model without Python code: its graph, evaluated by NumPy when it is called.

    Parameters
    ----------
    content : dict
        What the file holds.
    """

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content
        names, variables = content["names"], content["variables"]
        if not isinstance(names, list) or not all(type(one) is str and one.isidentifier() for one in names):
            raise ValueError("its names are none of parameters.")
        if type(variables) is not int or not 1 <= variables <= SEPARATE_ROWS:
            raise ValueError(f"{variables!r} is no number of variables.")
        self.n, self.variables = len(names), variables
        self.__name__ = "loaded"
        self.__signature__ = Signature([Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in ("x", *names)])

    def check(self) -> None:
        """Raise ValueError unless this is a graph for any number of points, see `trace`."""
        for m in POINTS:
            self.trace((m,) if self.variables == 1 else (self.variables, m))

    def trace(self, shape: tuple[int, ...]) -> Trace:
        """Return the graph for an x of some shape, every part of it checked.

        Raises
        ------
        ValueError
            If the file does not hold a graph, or one whose parts do not fill its output, each place once.
        """
        m = shape[-1]
        content = self.content

        def lengths(written: list[Any]) -> tuple[int, ...]:
            if not isinstance(written, list) or not all(map(_is_length, written)):
                raise ValueError(f"{written!r} is no shape.")
            return tuple(m if length == "m" else length for length in written)

        graph = Graph(self.n)
        graph.constants = [float.fromhex(value) for value in content["constants"]]
        for _ in range(self.variables):
            graph.add_slot(np.zeros(m))
        for position, (written, symbols) in enumerate(zip(content["nodes"], content["shapes"], strict=True)):
            node = _read(written, position, graph, self.variables)
            is_vector = node[0] == "data" or (node[0] in OPERATIONS and any(graph.shapes[one] for one in node[1:]))
            if symbols != (["m"] if is_vector else []):
                raise ValueError(f"node {position} has shape {symbols!r}, which its operands do not give.")
            graph.nodes.append(node)
            graph.shapes.append(lengths(symbols))
            graph.remember(position)
        segments = []
        for node, symbols, offset, strides in content["segments"]:
            numbers = [node, offset, *strides]
            if not all(type(one) is int and 0 <= one < 2**31 for one in numbers) or node >= len(graph.nodes):
                raise ValueError("a segment refers to what is not there.")
            if symbols not in ([], ["m"]) or len(strides) != len(symbols) or (graph.shapes[node] and not symbols):
                raise ValueError(f"a segment has shape {symbols!r} and strides {strides!r}.")
            segments.append(Segment(node, lengths(symbols), offset, tuple(strides)))
        out = lengths(content["shape"])
        trace = Trace(graph, segments, prod(out), out, self.variables, [], True)
        _check_output(trace, m)
        return trace

    def __call__(self, x: Any, *p: Any) -> FloatArray:
        """Evaluate."""
        rows = np.asarray(x, dtype=np.float64)
        if len(p) != self.n:
            raise TypeError(f"this model takes {self.n} parameters, got {len(p)}.")
        trace = self.trace(rows.shape)
        data = [rows] if self.variables == 1 else list(rows)
        if len(data) != self.variables or data[0].ndim != 1:
            raise ValueError(f"x has shape {rows.shape}, but this model takes {self.variables} variables.")
        return output(trace, np.array(p, dtype=np.float64), data).reshape(trace.shape)


def _check_output(trace: Trace, m: int) -> None:
    """Raise ValueError unless the segments fill the output for `m` points, each place once."""
    if trace.variables > 1 and trace.m != m:
        raise ValueError(f"its output has {trace.m} values for {m} points.")
    if sum(prod(one.shape) for one in trace.segments) != trace.m:
        raise ValueError("its segments do not fill its output.")
    filled = np.zeros(trace.m, dtype=bool)
    for one in trace.segments:
        places = one.offset + (np.arange(m) * one.strides[0] if one.shape else np.zeros(1, dtype=np.int64))
        if places.size and (not 0 <= places.min() <= places.max() < trace.m or filled[places].any()):
            raise ValueError("one of its segments leaves its output, or meets another.")
        filled[places] = True


def _is_length(written: Any) -> bool:
    return written == "m" or (type(written) is int and 0 < written < 2**31)


def _read(written: list[Any], position: int, graph: Graph, variables: int) -> tuple[Any, ...]:
    """Check a node and return it."""
    operation, *parts = written
    if operation in OPERATIONS:
        if len(parts) != OPERATIONS[operation] or not all(type(one) is int and 0 <= one < position for one in parts):
            raise ValueError(f"node {position} is no {operation!r} of earlier nodes.")
        return (operation, *parts)
    if operation == "number":
        return (operation, float.fromhex(parts[0]))
    if operation == "sum" and type(parts[0]) is int and 0 <= parts[0] < position:
        return (operation, parts[0])
    limit = {"parameter": graph.n, "constant": len(graph.constants), "data": variables}.get(operation)
    if limit is None or type(parts[0]) is not int or not 0 <= parts[0] < limit:
        raise ValueError(f"node {position} is {written}, which a model cannot have.")
    if operation == "data":
        slot, offset, strides = parts
        if offset != 0 or strides != [1]:
            raise ValueError(f"node {position} reads data out of order.")
        return (operation, slot, 0, (1,))
    return (operation, parts[0])


class LoadedRoute:
    """The route of a loaded model: by its kernels, if any are compiled. See `nlsq.compiler.routes.Route`."""

    def __init__(self, function: LoadedFunction) -> None:
        self._function = function
        self._entries: dict[Any, Entry] = {}
        self.latest: Entry | None = None
        self.reason = ""
        self.ready, self.required = not compile_disabled(), True
        self.seconds, self.pauses = 0.0, False

    def entry(self, function: Any, key: Any, trace: Any, arguments: Any = ()) -> Entry | None:
        """Return the graph for x of some shape; None where parameters are held, or x is none for this model."""
        found = self._entries.get(key)
        if found is None:
            shape, n, *held = key
            if shape and isinstance(shape[0], tuple):
                if len(set(shape)) > 1:  # parts of different lengths
                    return None
                shape = (len(shape), *shape[0])
            variables = self._function.variables
            if held or n != self._function.n or shape[:-1] != ((variables,) if variables > 1 else ()):
                return None
            found = self._entries[key] = Entry(key, function, (), _NoDependencies(), self._function.trace(shape))
        if self.ready:
            self.latest = found
        return found

    def examine(self, function: Any, key: Any, trace: Any, arguments: Any = ()) -> Entry | str:
        """Do the same, with the reason where there is none."""
        return self.entry(function, key, trace) or f"it takes {self._function.variables} variables"

    def require(self) -> None:
        """Nothing more to do."""

    def may_compile(self) -> bool:
        """Whether there are kernels."""
        return self.ready

    def refuse(self, reason: str) -> None:
        """Say that kernels and graph disagree."""
        raise RuntimeError(f"a loaded model cannot be used on this machine: {reason}.")

    def spend(self, started: float) -> None:
        """Nothing is spent on plain calls."""


class _NoDependencies:
    """A loaded model reads nothing from outside."""

    outside_lookups: tuple[Any, ...] = ()
    functions: tuple[Any, ...] = ()
    others: tuple[Any, ...] = ()
