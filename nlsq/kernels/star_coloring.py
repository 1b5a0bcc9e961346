"""Colouring the columns of a symmetric matrix so that each entry can be read off differences, by itself or mirrored.

The pattern without its diagonal is a graph: ``neighbours of j = indices[indptr[j] : indptr[j + 1]]``. A star colouring
gives neighbours different colours and lets no path of four vertices have two colours only. This is the simpler kind in
which two neighbours of w may share a colour only where w has a lower one [1]_, [2]_:

    color(v) = min { c :  no neighbour w of v has c,
                          no coloured neighbour x of a neighbour w has c,  where w has no colour yet or a higher one }

Every vertex keeps the colours of its neighbours as bits, so that the second line is one or a few steps a neighbour.

References
----------
.. [1] A. H. Gebremedhin, F. Manne and A. Pothen, "What Color Is Your Jacobian? Graph Coloring for Computing
   Derivatives", SIAM Review 47, 2005, section 4.
.. [2] M. J. D. Powell and P. L. Toint, "On the Estimation of Sparse Hessian Matrices", SIAM Journal on Numerical
   Analysis 16, 1979.
"""

from nlsq.kernels.backend import kernel, shift
from nlsq.kernels.coloring import BITS, NONE


@kernel("int(int*, int*, int*, int, int, int*, int*, int*)")
def color_stars(indptr, indices, order, n, words, seen_work, taken_work, colors_out):
    """Colour greedily in `order`; gives the number of colours, or -1 when they do not fit into `words` words of bits.

    seen_work : (n * words,) zeros
    taken_work : (words,)
    colors_out : (n,)
    """
    for j in range(n):
        colors_out[j] = NONE
    n_colors = 0
    for step in range(n):
        v = order[step]
        for word in range(words):
            taken_work[word] = 0
        for p in range(indptr[v], indptr[v + 1]):
            w = indices[p]
            seen = shift(seen_work, w * words)
            whole = words
            if colors_out[w] != NONE:
                whole = colors_out[w] // BITS
                bit = 1 << (colors_out[w] - whole * BITS)
                taken_work[whole] |= bit | (seen[whole] & (bit - 1))
            for word in range(whole):
                taken_work[word] |= seen[word]
        color = 0
        while color < words * BITS and (taken_work[color // BITS] >> (color % BITS)) & 1 != 0:
            color += 1
        if color == words * BITS:
            return NONE
        colors_out[v] = color
        n_colors = max(n_colors, color + 1)
        for p in range(indptr[v], indptr[v + 1]):
            seen_work[indices[p] * words + color // BITS] |= 1 << (color % BITS)
    return n_colors
