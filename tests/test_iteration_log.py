"""The table of an interior-point solve: its columns line up, and say what the reports say."""

from types import SimpleNamespace

import numpy as np
import pytest

from nlsq.solvers.iteration_log import HEADER, HEADER_EVERY, LogPrinter, format_line, format_log
from nlsq.status import StepReport


def report(nit=0, **fields):
    known = {
        "x": np.zeros(2),
        "cost": 1.25,
        "step_norm": 0.5,
        "constr_violation": 2e-3,
        "dual_infeasibility": 3e-4,
        "barrier": 1e-2,
        "regularisation": 0.0,
        "dual_step": 1.0,
        "primal_step": 0.25,
        "line_search": 3,
        "kind": "f",
    }
    return SimpleNamespace(nit=nit, **(known | fields))


def test_a_line_has_what_the_report_has():
    words = format_line(report(7, regularisation=1e-4)).split()
    assert words == [
        "7",
        "1.2500000e+00",
        "2.00e-03",
        "3.00e-04",
        "-2.0",
        "5.00e-01",
        "-4.0",
        "1.00e+00",
        "2.50e-01f",
        "3",
    ]


def test_columns_end_where_their_heads_do():
    """Letters stand right of alpha_pr, so that its numbers stay in line."""
    line = format_line(report(12345, cost=-1.0e100, kind="r", line_search=12))
    for head in ("iter", "cost", "inf_pr", "inf_du", "lg(mu)", "||d||", "lg(rg)", "alpha_du", "alpha_pr", "ls"):
        end = HEADER.index(head) + len(head)
        assert line[end - 1] != " "
        assert end == len(HEADER) or line[end] in " r"


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [("barrier", 0.0, "-"), ("regularisation", 1e4, "4.0"), ("barrier", np.nan, "nan"), ("cost", np.inf, "inf")],
)
def test_unusual_numbers(field, value, shown):
    assert shown in format_line(report(**{field: value})).split()


def test_reports_of_other_solvers_have_dashes():
    other = StepReport(3, np.zeros(1), 2.0, 1e-3, 0.1, 0.5, 1.0, True, 4, 4)
    words = format_line(other).split()
    assert words[:2] == ["3", "2.0000000e+00"]
    assert words[4] == "-" and words[6] == "-"


def test_the_header_comes_again():
    lines = []
    printer = LogPrinter(lines.append)
    for nit in range(HEADER_EVERY + 1):
        printer(report(nit))
    assert [k for k, line in enumerate(lines) if line == HEADER] == [0, HEADER_EVERY + 1]


def test_the_log_explains_its_letters_and_no_others():
    text = format_log([report(0, kind=""), report(1, kind="h"), report(2, kind="r")])
    assert text.splitlines()[0] == HEADER
    assert "h: the violation fell enough" in text and "r: restoration" in text
    assert "f: " not in text and "s: " not in text


def test_a_printer_prints(capsys):
    LogPrinter()(report())
    assert capsys.readouterr().out == f"{HEADER}\n{format_line(report())}\n"


def test_no_history_is_an_error():
    with pytest.raises(ValueError, match="history=True"):
        format_log(None)
    assert format_log([]) == HEADER
