"""Ellipses under constraints: through a given point, no flatter than allowed; and the direct fit of conics.

Points around an arc say little about the far side of an ellipse. What is known beyond the points helps: that the
ellipse goes through a pin, and that it is not flatter than 3 : 2. Both are constraints on the parameters by name,

    g(pin) = 0   with   g = (u/a)^2 + (v/b)^2 - 1,   (u, v) = R(-tilt) (x - x0, y - y0),          a <= 1.5 b

and the residual of a point is its distance from the ellipse to first order, g / |grad g| [1]_.

The second part is the direct fit of [2]_: conics A x^2 + B x y + C y^2 + D x + E y + F with the least sum of squares
among those with 4 A C - B^2 = 1, which are ellipses. It is a least-squares problem with one equation, whose solution
also follows from an eigenvalue problem. Both must agree.

Run it with ``python examples/constrained_ellipse.py [--picture picture.png]``. The picture needs matplotlib.

References
----------
.. [1] P. D. Sampson, "Fitting conic sections to 'very scattered' data", Computer Graphics and Image Processing 18,
   1982.
.. [2] A. Fitzgibbon, M. Pilu and R. B. Fisher, "Direct least square fitting of ellipses", IEEE Transactions on Pattern
   Analysis and Machine Intelligence 21, 1999, section 3.
"""

import argparse

import numpy as np

import nlsq

TRUTH = {"x0": 1.0, "y0": 0.5, "a": 3.0, "b": 2.0, "tilt": 0.4}
START = {"x0": 0.0, "y0": 0.0, "a": 3.0, "b": 2.5, "tilt": 0.2}
SIGMA = 0.03


def ellipse(angle, x0, y0, a, b, tilt):
    """Return points of an ellipse, (2, m)."""
    u, v = a * np.cos(angle), b * np.sin(angle)
    return np.stack([x0 + np.cos(tilt) * u - np.sin(tilt) * v, y0 + np.sin(tilt) * u + np.cos(tilt) * v])


def distance(points, x0, y0, a, b, tilt):
    """Return the distances of points (2, m) from the ellipse, to first order; negative inside."""
    x, y = points[0] - x0, points[1] - y0
    u, v = np.cos(tilt) * x + np.sin(tilt) * y, np.cos(tilt) * y - np.sin(tilt) * x
    g = (u / a) ** 2 + (v / b) ** 2 - 1.0
    return g / (2.0 * np.sqrt((u / a**2) ** 2 + (v / b**2) ** 2))


PIN = tuple(ellipse(np.array(3.6), **TRUTH).tolist())


def misses_pin(x0, y0, a, b, tilt):
    """Return g at the pin."""
    x, y = PIN[0] - x0, PIN[1] - y0
    u, v = np.cos(tilt) * x + np.sin(tilt) * y, np.cos(tilt) * y - np.sin(tilt) * x
    return (u / a) ** 2 + (v / b) ** 2 - 1.0


THROUGH_PIN = {"type": "eq", "fun": misses_pin}
NOT_FLAT = {"type": "ineq", "fun": lambda a, b: 1.5 * b - a}


def arc(rng, m=60):
    """Make up noisy points on a part of the ellipse."""
    return ellipse(rng.uniform(-0.3, 1.5, m), **TRUTH) + SIGMA * rng.standard_normal((2, m))


def fit(points, constraints):
    """Fit an ellipse to points."""
    return nlsq.fit(
        distance,
        points,
        np.zeros(points.shape[1]),
        START,
        sigma=SIGMA,
        absolute_sigma=True,
        bounds={"a": (0.1, 20.0), "b": (0.1, 20.0)},
        constraints=constraints,
    )


def conic_by_constraint(points):
    """Return the coefficients of the direct fit as a least-squares problem with one equation."""
    x, y = points
    design = np.stack([x * x, x * y, y * y, x, y, np.ones_like(x)], axis=1)
    _, triangle = np.linalg.qr(design)
    is_ellipse = {"type": "eq", "fun": lambda c: 4.0 * c[0] * c[2] - c[1] ** 2 - 1.0}
    start = [0.5, 0.0, 0.5, 0.0, 0.0, -1.0]
    return nlsq.solve(nlsq.LeastSquaresProblem(lambda c: triangle @ c, start, constraints=[is_ellipse]))


def conic_by_eigenvalues(points):
    """Return the same from S c = lambda C c, whose only positive eigenvalue belongs to the ellipse."""
    x, y = points
    design = np.stack([x * x, x * y, y * y, x, y, np.ones_like(x)], axis=1)
    form = np.zeros((6, 6))
    form[0, 2] = form[2, 0] = 2.0
    form[1, 1] = -1.0
    values, vectors = np.linalg.eig(np.linalg.solve(design.T @ design, form))
    c = np.real(vectors[:, np.argmax(np.real(values))])
    return c / np.sqrt(c @ form @ c)


def draw(path, points, results):
    """Draw points, pin and ellipses."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    angle = np.linspace(0.0, 2.0 * np.pi, 400)
    figure, axes = plt.subplots(figsize=(7.0, 5.0))
    axes.plot(*ellipse(angle, **TRUTH), color="0.8", linewidth=4, label="truth")
    for label, result in results.items():
        axes.plot(*ellipse(angle, *result.params), label=label)
    axes.plot(*points, "k.", markersize=3, label="points")
    axes.plot(*PIN, "r^", label="pin")
    axes.set_aspect("equal")
    axes.set_xlim(-5.0, 5.0)
    axes.set_ylim(-3.5, 4.0)
    axes.legend(loc="lower left", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(picture=None):
    points = arc(np.random.default_rng(1))
    results = {
        "points alone": fit(points, []),
        "through the pin": fit(points, [THROUGH_PIN]),
        "and not flatter than 3 : 2": fit(points, [THROUGH_PIN, NOT_FLAT]),
    }
    for label, result in results.items():
        print(f"{label}\n\n{result.summary()}\n\n")

    direct, closed = conic_by_constraint(points), conic_by_eigenvalues(points)
    c = direct.x * np.sign(direct.x[0] * closed[0])
    print(f"direct fit: {direct.message}\ncoefficients {c.round(6)}")
    print(f"largest difference from the eigenvalue problem: {np.abs(c - closed).max():.1e}")
    if picture is not None:
        draw(picture, points, results)
    return results, c, closed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picture", help="where to save a picture")
    main(parser.parse_args().picture)
