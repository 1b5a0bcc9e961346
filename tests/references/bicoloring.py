"""A slow checker of bicolourings, and a slow twin of the division of entries between both sides."""

import numpy as np


def is_direct(mask, column_colors, row_colors, by_columns=None):
    """Say whether each entry can be read off one product; of the side that `by_columns` names, by rows, if given."""
    m, n = mask.shape
    place = -1
    for i in range(m):
        for j in range(n):
            if not mask[i, j]:
                continue
            place += 1
            alone_in_row = column_colors[j] >= 0 and not any(
                mask[i, k] and column_colors[k] == column_colors[j] for k in range(n) if k != j
            )
            alone_in_column = row_colors[i] >= 0 and not any(
                mask[k, j] and row_colors[k] == row_colors[i] for k in range(m) if k != i
            )
            if by_columns is None:
                good = alone_in_row or alone_in_column
            else:
                good = alone_in_row if by_columns[place] else alone_in_column
            if not good:
                return False
    return True


def times_keep_the_rule(mask, row_times, column_times):
    """Say whether rows and columns went in an order in which each had the fewest entries left among its like."""
    m, n = mask.shape
    left = np.array(mask, dtype=int)
    rows, columns = set(range(m)), set(range(n))
    steps = sorted([(t, 0, i) for i, t in enumerate(row_times)] + [(t, 1, j) for j, t in enumerate(column_times)])
    rho_columns = rho_rows = 0
    for _, kind, one in steps:
        if not rows or not columns:
            break
        in_row, in_column = left.sum(axis=1), left.sum(axis=0)
        row, column = min(in_row[list(rows)]), min(in_column[list(columns)])
        takes_row = rho_rows + max(rho_columns, row) < rho_columns + max(rho_rows, column)
        if takes_row != (kind == 0):
            return False
        if takes_row:
            if in_row[one] != row:
                return False
            rho_columns = max(rho_columns, row)
            left[one] = 0
            rows.discard(one)
        else:
            if in_column[one] != column:
                return False
            rho_rows = max(rho_rows, column)
            left[:, one] = 0
            columns.discard(one)
    return True
