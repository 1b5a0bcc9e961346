"""Bundle adjustment and pose graphs beside Ceres, GTSAM and SciPy; memory, and what the first solve of a process costs.

Data are those of `problems.real_data`; sections whose data are not there say so. Ceres runs as a program of its own,
``peers/ceres_bal.cpp``, whose path ``NLSQ_BENCH_CERES`` names; GTSAM where Python can import it. Times are CPU time
with one thread. Costs are compared under one definition of the residuals, ours, whatever the peer minimises.
"""

import json
import os
import subprocess
import time
from functools import cache, partial
from importlib.util import find_spec
from statistics import median

import numpy as np

from .compare import SINGLE_THREAD, fresh
from .problems import bundle_adjustment, pose_graphs, real_data
from .rows import Row, Section, in_units, limit_row, reported_row
from .startup import COLD_CACHE

__all__ = [
    "block_problem_of",
    "block_problem_of_graph",
    "blocks_section",
    "bundle_problem",
    "ceres",
    "graph_problem",
    "gtsam_solve",
    "memory_section",
    "pose_graphs_section",
    "scipy_plane_solve",
    "scipy_solve",
    "start_section",
]

CERES_VARIABLE = "NLSQ_BENCH_CERES"
CERES_COST = 13344.3183995  # of 49-7776 with Ceres' defaults, 31 iterations: Ceres 2.1 and 2.2
COST_SHARE = 1e-6
GRAPH_LIMITS = {"sphere2500": 0.30, "parking-garage": 0.15, "manhattan": None, "intel": None}


# Ours


@cache
def bundle_problem():
    """Return the block problem of the bundle adjustment 49-7776."""
    return block_problem_of(bundle_adjustment.read())


def block_problem_of(scene):
    """Return the block problem of a bundle adjustment."""
    import nlsq

    example, problem = real_data.example("bundle_adjustment"), nlsq.BlockProblem()
    cameras = problem.add_parameters(scene.cameras, name="cameras")
    points = problem.add_parameters(scene.points, name="points")
    blocks = [cameras[scene.camera_index], points[scene.point_index]]
    problem.add_residuals(example.reproject, blocks, data=scene.observed)
    return problem


@cache
def graph_problem(name):
    """Return a pose graph of the data folder and its block problem."""
    graph = pose_graphs.read(name)
    return graph, block_problem_of_graph(graph)


def block_problem_of_graph(graph):
    """Return the block problem of a pose graph, its first pose held."""
    import nlsq

    example, problem = real_data.example("pose_graph"), nlsq.BlockProblem()
    manifold = nlsq.SE2() if graph.kind == "SE2" else nlsq.SE3()
    poses = problem.add_parameters(graph.poses, manifold=manifold, name="poses")
    problem.hold(poses[0])
    ends = [poses[graph.edges[:, 0]], poses[graph.edges[:, 1]]]
    problem.add_residuals(example.RESIDUALS[graph.kind], ends, data=graph.measured, information=graph.information)
    return problem


def our_solve(problem, **options):
    """Solve with the tolerances that Ceres has by default, and its tests."""
    import nlsq

    tolerances = nlsq.Tolerances(cost=1e-6, step=1e-8, optimality=1e-10, rule="ceres")
    return nlsq.solve(problem, tolerances=tolerances, **options)


def our_jacobian(problem):
    """Return a call that computes the residuals and the Jacobian of a block problem at its start."""
    from nlsq.problem.blocks.evaluation import BlockEvaluation

    evaluation = BlockEvaluation(problem)
    jac, arrays = evaluation.pattern.zeros(), [np.empty(evaluation.m) for _ in range(2)]
    return partial(evaluation.linearise, evaluation.start(), *arrays, jac)


def cpu_seconds(call, repeat):
    """Return the median CPU time of a call that has been made once, and what it returned."""
    times, outcome = [], call()
    for _ in range(repeat):
        start = time.process_time()
        outcome = call()
        times.append(time.process_time() - start)
    return median(times), outcome


# Peers


def ceres(linear_solver="dense", repeat=1):
    """Run Ceres' program on the bundle adjustment and return what it measured, or None where there is none."""
    program = os.environ.get(CERES_VARIABLE)
    if not program:
        return None
    command = [program, str(real_data.path_of(real_data.BUNDLE)), linear_solver, str(repeat)]
    ran = subprocess.run(command, env=os.environ | SINGLE_THREAD, capture_output=True, text=True, check=True)
    return json.loads(ran.stdout)


def scipy_solve(scene):
    """Solve a bundle adjustment by SciPy's trust region, with the pattern of the Jacobian given."""
    from scipy.optimize import least_squares
    from scipy.sparse import csr_array

    rows, columns, shape = bundle_adjustment.sparsity_pattern(scene)
    pattern = csr_array((np.ones(rows.size), (rows, columns)), shape=shape)
    start = np.concatenate([scene.cameras.ravel(), scene.points.ravel()])
    options = {"method": "trf", "x_scale": "jac", "ftol": 1e-6, "jac_sparsity": pattern}
    return least_squares(bundle_adjustment.residual, start, args=(scene,), **options)


def scipy_plane_solve(graph):
    """Solve a planar pose graph by SciPy's trust region, with the pattern given and the first pose left out."""
    from scipy.optimize import least_squares
    from scipy.sparse import csr_array

    root = np.linalg.cholesky(graph.information).transpose(0, 2, 1)
    rows = np.repeat(np.arange(3 * len(graph.edges)), 6)
    columns = np.repeat((3 * graph.edges[:, :, None] + np.arange(3)).reshape(-1, 6), 3, axis=0).ravel()
    pattern = csr_array((np.ones(rows.size), (rows, columns)), shape=(3 * len(graph.edges), graph.poses.size))

    def residual(x):
        poses = np.concatenate([graph.poses[0], x]).reshape(-1, 3)
        return np.einsum("bij,bj->bi", root, pose_graphs.residuals(graph, poses)).ravel()

    options = {"method": "trf", "x_scale": "jac", "ftol": 1e-6, "jac_sparsity": pattern[:, 3:]}
    return least_squares(residual, graph.poses[1:].ravel(), **options)


def gtsam_solve(graph, path):
    """Return a call that runs GTSAM's Levenberg-Marquardt method on a file: its poses, cost and iterations."""
    import gtsam

    factors, start = gtsam.readG2o(str(path), graph.kind == "SE3")
    first, still = int(graph.ids[0]), gtsam.noiseModel.Isotropic.Sigma(graph.information.shape[1], 1e-6)
    if start.size() == 0:  # a file of measurements alone
        for name, (x, y, angle) in zip(graph.ids.tolist(), graph.poses.tolist(), strict=True):
            start.insert(name, gtsam.Pose2(x, y, angle))
    if graph.kind == "SE3":
        factors.add(gtsam.PriorFactorPose3(first, start.atPose3(first), still))
    else:
        factors.add(gtsam.PriorFactorPose2(first, start.atPose2(first), still))

    def solve():
        optimizer = gtsam.LevenbergMarquardtOptimizer(factors, start, gtsam.LevenbergMarquardtParams())
        values = optimizer.optimize()
        return values, factors.error(values), optimizer.iterations()

    return solve


def gtsam_poses(graph, values):
    """Return GTSAM's poses as an array."""
    poses = np.empty_like(graph.poses)
    for row, name in enumerate(graph.ids.tolist()):
        if graph.kind == "SE2":
            pose = values.atPose2(name)
            poses[row] = pose.x(), pose.y(), pose.theta()
        else:
            pose = values.atPose3(name)
            turn = pose.rotation().toQuaternion()
            poses[row] = *pose.translation(), turn.x(), turn.y(), turn.z(), turn.w()
    return poses


# Sections


def blocks_section(quick=False):
    """Time the bundle adjustment, its Jacobian, Ceres and SciPy."""
    title = "Bundle adjustment 49-7776, from the file's start, tolerances of Ceres"
    if reason := real_data.missing(real_data.BUNDLE):
        return Section(title=title, rows=[], notes=[reason])
    repeat, problem, rows, notes = (1 if quick else 7), bundle_problem(), [], []
    building, _ = cpu_seconds(lambda: block_problem_of(bundle_adjustment.read()), 1 if quick else 3)
    seconds, result = cpu_seconds(lambda: our_solve(problem), repeat)
    peer = ceres("dense", repeat)
    text = "Ceres: 0.72-0.82 s (quoted)" if peer is None else f"Ceres {peer['ceres']}: {peer['cpu_s']:.2f} s"
    extra = f", {result.nit} steps; {result.linear_solver}"
    rows.append(limit_row("solve", text, 0.45, seconds, "s", extra))
    apart = result.cost / CERES_COST - 1.0
    row = limit_row("cost less Ceres', relative", f"{CERES_COST:.2f}", COST_SHARE, apart, "", f" ({result.cost:.6f})")
    rows.append(_scientific(row, apart))
    jacobian, _ = cpu_seconds(our_jacobian(problem), 3 if quick else 51)
    text = "Ceres: 6.6 ms (quoted)" if peer is None else f"Ceres {peer['jacobian_ms']:.1f} ms"
    rows.append(limit_row("residuals and Jacobian once", text, 2.5, 1e3 * jacobian, "ms"))
    if peer is not None:
        notes += [f"Ceres {kind}: {ceres(kind, repeat)['cpu_s']:.2f} s" for kind in ("dense", "sparse")]
        notes.append(f"Ceres' cost {peer['cost']:.4f} after {peer['iterations']} iterations")
    notes.append(f"reading the file and building the problem: {in_units(building)}")
    if not quick:
        start = time.process_time()
        theirs = scipy_solve(bundle_adjustment.read())
        taken = time.process_time() - start
        what, peer = "SciPy's least_squares, pattern given: time / ours", f"{taken:.1f} s, cost {theirs.cost:.0f}"
        met = taken >= 20.0 * seconds and result.cost <= theirs.cost
        rows.append(Row(what=what, peer=peer, required=">= 20 x", measured=f"{taken / seconds:.0f} x", met=met))
    return Section(title=title, rows=rows, notes=notes)


def _scientific(row, value):
    """Return a row of a number that two decimals would hide."""
    return Row(what=row.what, peer=row.peer, required=row.required, measured=f"{value:+.1e}", met=row.met)


def pose_graphs_section(quick=False):
    """Time pose graphs against GTSAM, and compare costs."""
    rows, notes = [], []
    for name, limit in GRAPH_LIMITS.items():
        if reason := real_data.missing(real_data.GRAPHS[name]):
            notes.append(f"{name}: {reason}")
            continue
        graph, problem = graph_problem(name)
        repeat = 1 if quick else 7
        seconds, result = cpu_seconds(lambda problem=problem: our_solve(problem), repeat)
        ours = pose_graphs.cost(graph, result.values[0])
        if find_spec("gtsam") is None:
            peer, peer_cost, least = "-", "-", None
        else:
            solve = gtsam_solve(graph, real_data.path_of(real_data.GRAPHS[name]))
            taken, (values, error, steps) = cpu_seconds(solve, repeat)
            least = pose_graphs.cost(graph, gtsam_poses(graph, values))
            peer = f"GTSAM {in_units(taken)}, {steps} iterations"
            peer_cost = f"GTSAM {least:.6f} ({error:.6f} under its own residuals)"
        rows.append(limit_row(f"{name}: solve", peer, limit, seconds, "s", f", {result.nit} steps"))
        text = f"{ours:.6f}"
        if least is None or limit is None:  # planar: GTSAM's residuals differ by more than rounding
            rows.append(reported_row(f"{name}: cost", peer_cost, text))
        else:
            met = ours <= least * (1.0 + COST_SHARE)
            rows.append(Row(what=f"{name}: cost", peer=peer_cost, required="not higher", measured=text, met=met))
    if find_spec("gtsam") is None:
        notes.append("GTSAM is not installed")
    return Section(title="Pose graphs, the first pose held", rows=rows, notes=notes)


# Fresh processes

# VmHWM is of the process alone; ru_maxrss begins at what the process that started it had.
_PEAK = """
peak = lambda: next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024.0
"""
_LOAD = (
    _PEAK
    + """
import sys, time
sys.path.insert(0, ".")
from benchmarks import sparse
"""
)
_MEMORY = (
    _LOAD
    + """
bare = peak()
sparse.our_solve(sparse.small_problem())
loaded = peak()
sparse.our_solve(sparse.bundle_problem())
print(bare, loaded, peak())
"""
)
_START = (
    _LOAD
    + """
problem = sparse.bundle_problem()
before = time.process_time()
sparse.our_solve(problem)
first = time.process_time() - before
before = time.process_time()
sparse.our_solve(problem)
second = time.process_time() - before
print(first - second, first)
"""
)
_BASE = _PEAK + "import numpy\nprint(peak())"


def small_problem():
    """Return a bundle adjustment of a few cameras, which loads all that a large one needs."""
    return block_problem_of(bundle_adjustment.ring(49, 500))


def memory_section(quick=False):
    """Measure peak memory of the bundle adjustment in a process of its own."""
    title = "Peak memory of the bundle adjustment 49-7776"
    if reason := real_data.missing(real_data.BUNDLE):
        return Section(title=title, rows=[], notes=[reason])
    fresh(_MEMORY)  # leaves kernels on disk
    bare, loaded, peak = map(float, fresh(_MEMORY).output.split())
    numpy_alone = float(fresh(_BASE).output)
    peer = ceres()
    beyond = 29.0 if peer is None else peer["peak_mb"] - peer["peak_before_mb"]
    text = f"Ceres {beyond:.0f} MB{' (quoted)' if peer is None else ''}"
    rows = [
        limit_row("beyond a process that has solved a small one", text, 1.5 * beyond, peak - loaded, "MB"),
        reported_row("beyond Python and NumPy", text, f"{peak - numpy_alone:.0f} MB"),
        reported_row(
            "all of the process", "-" if peer is None else f"Ceres {peer['peak_mb']:.0f} MB", f"{peak:.0f} MB"
        ),
    ]
    notes = [f"Python and NumPy {numpy_alone:.0f} MB, benchmarks imported {bare:.0f} MB, a small one {loaded:.0f} MB"]
    return Section(title=title, rows=rows, notes=notes)


def start_section(quick=False):
    """Measure what the first solve of a process costs more than the second, and whole processes."""
    title = "First bundle adjustment of a process"
    if reason := real_data.missing(real_data.BUNDLE):
        return Section(title=title, rows=[], notes=[reason])
    fresh(_START)
    runs = [fresh(_START) for _ in range(1 if quick else 5)]
    more = median(float(run.output.split()[0]) for run in runs)
    whole = median(run.cpu for run in runs)
    rows = [
        limit_row("kernels on disk: the first solve beyond the second", "-", 0.5, more, "s CPU"),
        reported_row("kernels on disk: reading, building, two solves, all of the process", "-", f"{whole:.2f} s CPU"),
    ]
    if not quick:
        run = fresh(COLD_CACHE + _START)
        rows.append(
            limit_row("no kernels on disk, all of the process", "-", 15.0, run.cpu, "s CPU", f" ({run.wall:.1f} s)")
        )
    return Section(title=title, rows=rows)
