r"""Chemical equilibrium, data reconciliation and the state of an electric network.

    methane_reforming    CH4 + H2O = CO + 3 H2,  CO + H2O = CO2 + H2 at 1100 K and 1 bar: amounts of five substances,
                         r = log of the reaction quotients less log K, equalities: C, H and O are kept
    propane_combustion   the ten products of Meintjes and Morgan [1]_ (air ratio 10, 40 bar), r = six equilibria,
                         equalities: C, H, O and N are kept
    flow_reconciliation  seven measured flows around four units that keep mass
    bilinear_...         flows and compositions around a column: F z = D y + B x, fractions sum to one
    power_...            voltages and angles of five buses from 18 measurements, bus 4 takes and gives nothing

References
----------
.. [1] K. Meintjes and A. P. Morgan, "Chemical equilibrium systems as numerical test problems", ACM Transactions on
   Mathematical Software 16(2), 143-151, 1990.
"""

import numpy as np

from .problem import make

__all__ = ["problems"]

INF = np.inf

LOG_K_REFORMING, LOG_K_SHIFT = 5.77, -0.06  # natural logarithms
ELEMENTS = np.array(  # rows C, H, O; columns CH4, H2O, CO, CO2, H2
    [[1.0, 0.0, 1.0, 1.0, 0.0], [4.0, 2.0, 0.0, 0.0, 2.0], [0.0, 1.0, 1.0, 2.0, 0.0]]
)
FEED = ELEMENTS @ np.array([1.0, 3.0, 0.0, 0.0, 0.0])


def reforming_residual(x):
    log, log_total = np.log(x), np.log(np.sum(x))
    reforming = log[2] + 3.0 * log[4] - log[0] - log[1] - 2.0 * log_total
    shift = log[3] + log[4] - log[2] - log[1]
    return np.array([reforming - LOG_K_REFORMING, shift - LOG_K_SHIFT])


AIR, PRESSURE = 10.0, 40.0
K5, K6, K7 = 0.193, 0.002597 / np.sqrt(PRESSURE), 0.003448 / np.sqrt(PRESSURE)
K8, K9, K10 = 1.799e-5 / PRESSURE, 2.155e-4 / np.sqrt(PRESSURE), 3.846e-5 / PRESSURE


def combustion_residual(n):
    total = np.sum(n)
    root = np.sqrt(total)
    return np.array(
        [
            K5 * n[1] * n[3] - n[0] * n[4],
            K6 * np.sqrt(n[1] * n[3]) * root - np.sqrt(n[0]) * n[5],
            K7 * np.sqrt(n[0] * n[1]) * root - np.sqrt(n[3]) * n[6],
            K8 * n[0] * total - n[3] * n[7],
            K9 * n[0] * np.sqrt(n[2]) * root - n[3] * n[8],
            K10 * n[0] ** 2 * total - n[3] ** 2 * n[9],
        ]
    )


def combustion_elements(n):
    """Return the surpluses of carbon, oxygen, hydrogen and nitrogen."""
    return np.array(
        [
            n[0] + n[3] - 3.0,
            2.0 * n[0] + n[1] + n[3] + n[6] + n[7] + n[8] + 2.0 * n[9] - AIR,
            2.0 * n[1] + 2.0 * n[4] + n[5] + n[6] - 8.0,
            2.0 * n[2] + n[8] - 4.0 * AIR,
        ]
    )


UNITS = np.array(  # 1 where a flow enters a unit, -1 where it leaves
    [
        [1.0, -1.0, 0.0, 1.0, 0.0, 1.0, 0.0],
        [0.0, 1.0, -1.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 1.0, -1.0, -1.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 1.0, -1.0, -1.0],
    ]
)
FLOWS = np.array([49.5, 81.4, 85.3, 10.1, 72.9, 25.7, 51.0])
FLOW_ERRORS = np.array([1.5, 2.8, 2.8, 1.0, 2.7, 1.4, 1.9])

# Feed, distillate, bottoms: flow, then three mole fractions of each.
COLUMN = np.array([100.8, 39.4, 59.1, 0.31, 0.36, 0.35, 0.71, 0.24, 0.03, 0.06, 0.41, 0.55])
COLUMN_ERRORS = np.array([2.0, 1.0, 1.5, *[0.01] * 9])


def column_residual(p):
    return (p - COLUMN) / COLUMN_ERRORS


def column_balances(p):
    flows, fractions = p[:3], p[3:].reshape(3, 3)
    balances = flows[0] * fractions[0] - flows[1] * fractions[1] - flows[2] * fractions[2]
    return np.concatenate([balances, np.sum(fractions, axis=1) - 1.0])


LINES = np.array([[0, 1], [0, 2], [1, 2], [1, 3], [2, 3], [3, 4], [1, 4]])
ADMITTANCES = np.array([5.0 - 15j, 1.25 - 3.75j, 1.67 - 5j, 2.5 - 7.5j, 10.0 - 30j, 1.25 - 3.75j, 2.0 - 6.0j])
NETWORK = np.zeros((5, 5), dtype=complex)
for (FROM, TO), Y in zip(LINES, ADMITTANCES, strict=True):
    NETWORK[FROM, TO] = NETWORK[TO, FROM] = -Y
NETWORK[np.diag_indices(5)] = -np.sum(NETWORK, axis=1)
CONDUCTANCE, SUSCEPTANCE = NETWORK.real.copy(), NETWORK.imag.copy()
METERED = np.array([0, 1, 2, 4])


def injections(p):
    """Return the active and reactive powers of all buses; p = (V1, ..., V5, angles 2 to 5)."""
    v, angle = p[:5], p[5:]
    u = v * np.concatenate([np.ones(1), np.cos(angle)])
    w = v * np.concatenate([np.zeros(1), np.sin(angle)])
    current_u, current_w = CONDUCTANCE @ u - SUSCEPTANCE @ w, CONDUCTANCE @ w + SUSCEPTANCE @ u
    return u * current_u + w * current_w, w * current_u - u * current_w


def line_powers(p):
    """Return the active powers into the first five lines."""
    v, angle = p[:5], np.concatenate([np.zeros(1), p[5:]])
    first, second = LINES[:5, 0], LINES[:5, 1]
    g, b = ADMITTANCES.real[:5], ADMITTANCES.imag[:5]
    turn = angle[first] - angle[second]
    return v[first] ** 2 * g - v[first] * v[second] * (g * np.cos(turn) + b * np.sin(turn))


def meters(p):
    active, reactive = injections(p)
    return np.concatenate([p[:5], active[METERED], reactive[METERED], line_powers(p)])


METER_ERRORS = np.concatenate([np.full(5, 0.004), np.full(13, 0.01)])
VOLTAGES = np.array([1.05, 1.02, 1.0, 1.0, 0.98]) * np.exp(-1j * np.array([0.0, 0.04, 0.07, 0.0, 0.1]))
VOLTAGES[3] = -(NETWORK[3] @ VOLTAGES - NETWORK[3, 3] * VOLTAGES[3]) / NETWORK[3, 3]  # no current at bus 4
STATE = np.concatenate([np.abs(VOLTAGES), np.angle(VOLTAGES[1:])])
READINGS = meters(STATE) + METER_ERRORS * np.sin(np.arange(1.0, 19.0) ** 2)


def power_residual(p):
    return (meters(p) - READINGS) / METER_ERRORS


def passive_bus(p):
    active, reactive = injections(p)
    return np.array([active[3], reactive[3]])


def problems():
    """Yield the problems."""
    yield make(
        "methane_reforming",
        "chemical equilibrium, element balances",
        reforming_residual,
        np.ones(5),
        lambda x: ELEMENTS @ x,
        FEED,
        FEED,
        lb=1e-8,
    )
    start = np.array([1.5, 2.0, 15.0, 0.5, 1.0, 0.5, 0.5, 0.5, 1.0, 0.5])
    source = "MM 1990"
    yield make("propane_combustion", source, combustion_residual, start, combustion_elements, lb=1e-10, ub=100.0)
    yield make(
        "flow_reconciliation",
        "data reconciliation, linear",
        lambda f: (f - FLOWS) / FLOW_ERRORS,
        FLOWS,
        lambda f: UNITS @ f,
        lb=0.0,
    )
    source = "data reconciliation, bilinear"
    yield make("bilinear_reconciliation", source, column_residual, COLUMN, column_balances, lb=0.0)
    yield make(
        "power_state_estimation",
        "weighted least squares with zero injections",
        power_residual,
        np.concatenate([np.ones(5), np.zeros(4)]),
        passive_bus,
        lb=np.concatenate([np.full(5, 0.9), np.full(4, -1.5)]),
        ub=np.concatenate([np.full(5, 1.1), np.full(4, 1.5)]),
    )
