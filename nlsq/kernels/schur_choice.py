"""Which parameter blocks can be eliminated together: a greedy independent set.

Column blocks are given with the residual blocks that meet them, ``residual blocks of b = meeting[first[b] : first[b +
1]]``, and residual blocks with the column blocks they meet. Column blocks that share a residual block are neighbours.
"""

from nlsq.kernels.backend import kernel

UNDECIDED, TAKEN, LEFT = 0, 1, 2


@kernel("int(int*, int*, int*, int*, int*, int, int*)")
def take_independent(first, meeting, row_first, blocks, order, n, states_out):
    """Take column blocks in `order` unless a neighbour was taken before; return how many.

    first : (n + 1,).  row_first : first of the column blocks of each residual block, and their number.
    states_out : (n,) TAKEN or LEFT.
    """
    for b in range(n):
        states_out[b] = UNDECIDED
    taken = 0
    for t in range(n):
        b = order[t]
        if states_out[b] == UNDECIDED:
            for p in range(first[b], first[b + 1]):
                i = meeting[p]
                for q in range(row_first[i], row_first[i + 1]):
                    states_out[blocks[q]] = LEFT
            states_out[b] = TAKEN
            taken += 1
    return taken
