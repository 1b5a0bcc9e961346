"""Random programs: whatever is called clean is run, and must leave everything outside as it was."""

import random

import numpy as np
import pytest

from nlsq.compiler.clean import Unclean, examine

NAMES = ("a", "b", "c")
SOURCES = (
    "p",
    "Y",
    "M",
    "L",
    "D",
    "T",
    "C.data",
    "C.parts",
    "np.zeros(4)",
    "np.empty((4, 4))",
    "[]",
    "2.0",
    "{v}",
    "{v} * 2.0",
    "{v} + {v}",
    "{v}[0]",
    "{v}[1:]",
    "{v}[-1][0]",
    "D['y']",
    "D.get('z', {v})",
    "L[1]",
    "T[1][0]",
    "M.T",
    "[{v}, {v}]",
    "({v}, {v})",
    "{{'k': {v}}}",
    "dict(k={v})['k']",
    "[*{v}, {v}]",
    "list({v})",
    "tuple({v})",
    "[e for e in {v}]",
    "[[e, {v}] for e in {v}][0]",
    "list(zip({v}, {v}))[0][1]",
    "next_of({v})",
    "same({v})",
    "same(b={v})",
    "same(*({v},))",
    "inner({v})",
    "keep({v}, {v})",
    "(lambda q, r={v}: r)(1)",
    "np.asarray({v})",
    "np.array({v})",
    "np.ravel({v})",
    "np.reshape({v}, (-1,))",
    "np.atleast_1d({v})",
    "np.diff({v})",
    "np.concatenate([{v}, {v}])",
    "np.broadcast_to({v}, (4, 4))",
    "np.split({v}, 2)[0]",
    "np.float64({v})",
    "np.real({v})",
    "np.copy({v})",
    "np.exp({v})",
    "np.where({v}, {v}, {v})",
    "np.einsum('ii->i', {v})",
    "np.sum({v}, axis=0)",
    "{v}.copy()",
    "{v}.conj()",
    "{v}.reshape(-1)",
    "{v}.real",
    "{v}.astype(float)",
    "{v}.get('k', Y)",
    "{v}.pop()",
    "abs({v})",
    "max({v}, {v})",
    "sum([{v}], {v})",
    "sum([], {v})",
    "sum(e for e in [{v}])",
    "(Y if FLAG else {v})",
    "({v} or {v})",
    "{v}[...]",
    "{v}[None]",
    "{v}[[0, 1]]",
)
# What is put into a container is a slice: no container comes to hold itself, which numpy would follow for ever.
ACTIONS = (
    "{v}[0] = {v}[:]",
    "{v}[0] = 7.0",
    "{v}[:] = 7.0",
    "{v}[0][0] = 7.0",
    "{v}['k'] = {v}[:]",
    "{v} += 1.0",
    "{v} *= 2.0",
    "{v} += {v}",
    "{v}[0] += 1.0",
    "{v}[1:] *= 3.0",
    "{v}.append({v}[:])",
    "{v}.extend({v}[:])",
    "{v}.insert(0, {v}[:])",
    "{v}.update(k={v}[:])",
    "{v}.sort()",
    "{v}.reverse()",
    "{v}.fill(7.0)",
    "{v}, {v} = {v}, {v}",
    "{v}, *{v} = {v}",
    "spoil({v})",
    "spoil(b={v})",
    "for {v} in {v}: {v}[0] = 7.0",
    "for {v}, {v} in zip({v}, {v}): {v} += 1.0",
    "for {v} in ({v}, {v}): {v}.append({v}[:])",
    "if FLAG: {v} = {v}",
    "{v} = {v} if FLAG else {v}",
)
HELPERS = """
def same(b): return b
def next_of(b):
    for e in b: return e
def spoil(b):
    b[0] = 7.0
def keep(b, c):
    held = []
    held.append(b)
    held += [c]
    return held[0]
"""
START = ("a, b, c = np.zeros(4), [Y], Y", "def inner(q): return [q, a, shared]", "shared = a")


class Config:
    def __init__(self):
        self.data = np.arange(4.0)
        self.parts = [np.arange(4.0)]


def outside():
    """Give the outside objects of a program."""
    y = np.arange(1.0, 5.0)
    arrays = [y, np.arange(16.0).reshape(4, 4), np.ones(4), np.ones(4)]
    names = {
        "Y": y,
        "M": arrays[1],
        "L": [arrays[2], 1.0, [2.0]],
        "D": {"y": arrays[3], "k": [1.0]},
        "T": (y, [3.0], arrays[2]),
        "C": Config(),
        "FLAG": True,
        "np": np,
    }
    return names, arrays


def state(names, arrays):
    """Write down everything that a program could change."""
    config = names["C"]
    text = repr((names["L"], names["D"], names["T"], config.data, config.parts, sorted(vars(config))))
    return text + repr([one.tobytes() for one in arrays])


def program(seed):
    """Write a function of random statements, each of which runs after those before it."""
    choose = random.Random(seed)

    def filled(text):
        while "{v}" in text:
            text = text.replace("{v}", choose.choice(NAMES), 1)
        return text.replace("{{", "{").replace("}}", "}")

    scratch, _ = outside()
    scratch["p"] = np.arange(2.0, 6.0)
    lines = []

    def add(line):
        try:
            exec(line, scratch)
        except Exception:
            return
        lines.append(line)

    exec(HELPERS, scratch)
    for line in (*START, "shared = " + filled(choose.choice(SOURCES))):
        add(line)
    for _ in range(choose.randint(4, 16)):
        if choose.random() < 0.7:
            add(f"{choose.choice(NAMES)} = {filled(choose.choice(SOURCES))}")
        else:
            add(filled(choose.choice(ACTIONS)))
    body = "".join(f"    {line}\n" for line in lines)
    return f"{HELPERS}\ndef f(p):\n{body}    return a, b, c\n"


def run(seed):
    """Examine a program, and run it if it is called clean; tell whether it was."""
    source = program(seed)
    names, arrays = outside()
    exec(source, names)
    try:
        seen = examine(names["f"])
    except Unclean:
        return False
    for flag in (True, False):
        names["FLAG"] = flag
        p = np.arange(2.0, 6.0)
        before = state(names, arrays)
        try:
            names["f"](p)
        except Exception:  # wrong programs are programs too
            pass
        assert state(names, arrays) == before, source
        assert seen.changes_arguments or np.array_equal(p, np.arange(2.0, 6.0)), source
    return True


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("first", range(0, 400, 100))
def test_clean_programs_change_nothing(first):
    assert any([run(seed) for seed in range(first, first + 100)])
