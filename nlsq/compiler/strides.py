"""Strides, in elements, of arrays and of the same memory under another shape."""

from __future__ import annotations

Shape = tuple[int, ...]


def contiguous_strides(shape: Shape) -> tuple[int, ...]:
    """Return the strides of a C-ordered array, in elements."""
    strides, step = [], 1
    for length in reversed(shape):
        strides.append(step)
        step *= length
    return tuple(reversed(strides))


class NotContiguous(Exception):
    """No strides give the elements of a leaf another shape."""


def reshaped_strides(old: Shape, strides: tuple[int, ...], new: Shape) -> tuple[int, ...]:
    """Return the strides under which the same memory has another shape.

    Neighbouring axes that lie in memory as one are joined; each joined axis is cut into some of the new ones.
    """
    joined: list[list[int]] = []  # length, stride
    for length, stride in zip(old, strides, strict=True):
        if length == 1:
            continue
        if joined and joined[-1][1] == stride * length:
            joined[-1] = [joined[-1][0] * length, stride]
        else:
            joined.append([length, stride])
    result = [0] * len(new)
    if 0 in new:  # nothing is read
        return tuple(result)
    axis = len(new) - 1
    for length, stride in reversed(joined):
        step = stride
        while length > 1:
            while axis >= 0 and new[axis] == 1:
                axis -= 1
            if axis < 0 or length % new[axis]:
                raise NotContiguous
            result[axis] = step
            step *= new[axis]
            length //= new[axis]
            axis -= 1
    return tuple(result)
