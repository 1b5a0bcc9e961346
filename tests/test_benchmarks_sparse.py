"""The benchmarks of sparse problems: what they make up, the costs they compare by, and their sections on small data."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import bench_sparse, compare, factorisations, sections, sparse
from benchmarks.problems import bundle_adjustment, pose_graphs, real_data

SPARSE = ["sparse_blocks", "pose_graphs", "factorisations", "sparse_memory", "sparse_start"]


def quick_ratio(ours, peer, **options):
    """Call both once, in place of timing them."""
    ours(), peer()
    return compare.Ratio(median=2.0, lower=1.0, upper=3.0, ours=1e-6, peer=2e-6)


@pytest.fixture
def no_data(monkeypatch):
    monkeypatch.delenv(real_data.VARIABLE, raising=False)
    monkeypatch.delenv(sparse.CERES_VARIABLE, raising=False)


@pytest.fixture
def small_data(tmp_path, monkeypatch):
    """Write small problems where the large ones would be."""
    for folder in ("bal", "g2o"):
        (tmp_path / folder).mkdir()
    real_data.example("readers.bal").write(tmp_path / real_data.BUNDLE, bundle_adjustment.ring(8, 60))
    for name, path in real_data.GRAPHS.items():
        graph = pose_graphs.grid_world(5) if name in ("manhattan", "intel") else pose_graphs.helix(40, 10)
        real_data.example("readers.g2o").write(tmp_path / path, graph)
    monkeypatch.setenv(real_data.VARIABLE, str(tmp_path))
    monkeypatch.delenv(sparse.CERES_VARIABLE, raising=False)
    caches = (sparse.bundle_problem, sparse.graph_problem, factorisations.load)
    for kept in caches:
        kept.cache_clear()
    yield tmp_path
    for kept in caches:
        kept.cache_clear()


class TestProblems:
    """The problems."""

    def test_example_sees_what_the_arrays_see(self):
        scene = bundle_adjustment.ring(3, 5)
        example = real_data.example("bundle_adjustment")
        chosen = zip(scene.camera_index, scene.point_index, scene.observed, strict=True)
        single = [example.reproject(tuple(scene.cameras[c]), tuple(scene.points[p]), seen) for c, p, seen in chosen]
        x = np.concatenate([scene.cameras.ravel(), scene.points.ravel()])
        np.testing.assert_allclose(bundle_adjustment.residual(x, scene), np.ravel(single), rtol=1e-9, atol=1e-9)

    def test_pattern_has_every_entry(self):
        scene = bundle_adjustment.ring(3, 5)
        rows, columns, shape = bundle_adjustment.sparsity_pattern(scene)
        x = np.concatenate([scene.cameras.ravel(), scene.points.ravel()])
        assert shape == (scene.observed.size, x.size)
        inside = np.zeros(shape, dtype=bool)
        inside[rows, columns] = True
        base = bundle_adjustment.residual(x, scene)
        for column in range(x.size):
            moved = x + 1e-6 * np.eye(x.size)[column]
            changed = bundle_adjustment.residual(moved, scene) != base
            assert not np.any(changed & ~inside[:, column])

    def test_points_are_in_front_of_cameras(self):
        scene = bundle_adjustment.ring(6, 40)
        assert np.all(np.abs(scene.observed) < 250.0)
        assert np.all(np.bincount(scene.point_index) == 4)

    @pytest.mark.parametrize("graph", [pose_graphs.grid_world(4), pose_graphs.helix(20, 6)], ids=["SE2", "SE3"])
    def test_example_agrees_on_cost(self, graph):
        residual = real_data.example("pose_graph").RESIDUALS[graph.kind]
        total = 0.0
        for (i, j), measured, information in zip(graph.edges, graph.measured, graph.information, strict=True):
            r = np.array(residual(graph.poses[i], graph.poses[j], measured))
            total += 0.5 * r @ information @ r
        assert math.isclose(pose_graphs.cost(graph, graph.poses), total, rel_tol=1e-9)
        assert total > 10.0

    def test_data_that_are_not_there_are_named(self, tmp_path, monkeypatch, no_data):
        assert real_data.VARIABLE in real_data.missing(real_data.BUNDLE)
        assert bundle_adjustment.read() is None
        monkeypatch.setenv(real_data.VARIABLE, str(tmp_path))
        assert real_data.BUNDLE in real_data.missing(real_data.BUNDLE)
        assert real_data.missing() == ""


class TestMatrices:
    """The matrices that are factorised."""

    @pytest.mark.parametrize("name", factorisations.MATRICES)
    def test_definite_and_upper(self, name):
        upper = factorisations.load(name, small=True)
        dense = upper.toarray()
        assert not np.any(np.tril(dense, -1))
        np.linalg.cholesky(dense + np.triu(dense, 1).T)

    def test_refactoring_solves(self):
        upper = factorisations.load("M3500, n = 10 500", small=True)
        dense = upper.toarray() + np.triu(upper.toarray(), 1).T
        _, found = factorisations.our_refactor(upper)
        factor, x, b = found.prepare(), np.empty(found.n), np.arange(1.0, found.n + 1.0)
        assert factor.refactor(upper.data) == -1
        factor.solve(b, x)
        np.testing.assert_allclose(dense @ x, b, rtol=1e-9)

    def test_reduced_matrix_is_the_schur_complement(self):
        scene = bundle_adjustment.ring(4, 12)
        reduced = factorisations.reduced_matrix(scene).toarray()
        assert reduced.shape == (36, 36)
        np.testing.assert_allclose(reduced, reduced.T, atol=1e-9)


class TestSections:
    """What the report prints."""

    @pytest.mark.parametrize("name", [name for name in SPARSE if name != "factorisations"])
    def test_without_data_a_reason(self, name, no_data):
        section = sections.SECTIONS[name](quick=True)
        assert section.rows == []
        assert all(real_data.VARIABLE in note for note in section.notes if "GTSAM" not in note)
        assert section.notes

    def test_factorisations_without_data(self, no_data, monkeypatch):
        monkeypatch.setattr(factorisations, "interleaved", quick_ratio)
        monkeypatch.setattr(factorisations, "find_spec", lambda name: None)
        section = sections.SECTIONS["factorisations"](quick=True)
        assert len(section.rows) == len(factorisations.MATRICES) + 1
        assert "cvxopt" in section.notes[0]

    def test_bundle_adjustment(self, small_data, monkeypatch):
        monkeypatch.setattr(sparse, "CERES_COST", 1e9)
        section = sections.SECTIONS["sparse_blocks"](quick=True)
        assert [row.what for row in section.rows] == [
            "solve",
            "cost less Ceres', relative",
            "residuals and Jacobian once",
        ]
        assert section.rows[1].met
        assert all("quoted" in row.peer for row in section.rows[::2])

    def test_bundle_adjustment_beside_ceres(self, small_data, monkeypatch):
        measured = {"ceres": "2.2.0", "cpu_s": 0.5, "jacobian_ms": 6.5, "cost": 1.0, "iterations": 3}
        monkeypatch.setattr(sparse, "ceres", lambda kind, repeat: measured)
        section = sections.SECTIONS["sparse_blocks"](quick=True)
        assert section.rows[0].peer == "Ceres 2.2.0: 0.50 s"
        assert "Ceres sparse: 0.50 s" in section.notes

    def test_program_that_is_no_ceres(self, small_data, monkeypatch):
        monkeypatch.setenv(sparse.CERES_VARIABLE, "false")
        with pytest.raises(Exception, match="false"):
            sparse.ceres()

    def test_pose_graphs(self, small_data, monkeypatch):
        monkeypatch.setattr(sparse, "find_spec", lambda name: None)
        section = sections.SECTIONS["pose_graphs"](quick=True)
        assert len(section.rows) == 2 * len(sparse.GRAPH_LIMITS)
        assert section.notes == ["GTSAM is not installed"]
        for name in sparse.GRAPH_LIMITS:
            graph, problem = sparse.graph_problem(name)
            after = pose_graphs.cost(graph, sparse.our_solve(problem).values[0])
            assert after < 0.5 * pose_graphs.cost(graph, graph.poses)

    def test_scipys_solve_reaches_the_same_cost(self, small_data):
        theirs = sparse.scipy_solve(bundle_adjustment.read())
        ours = sparse.our_solve(sparse.bundle_problem())
        assert math.isclose(theirs.cost, ours.cost, rel_tol=1e-3)

    def test_fresh_processes(self, small_data, monkeypatch):
        outputs = iter(["", "50.0 120.0 140.0\n", "30.0\n", "", "0.3 0.7\n"])
        monkeypatch.setattr(sparse, "fresh", lambda code: SimpleNamespace(output=next(outputs), cpu=1.5, wall=2.0))
        memory = sections.SECTIONS["sparse_memory"](quick=True)
        assert memory.rows[0].measured == "20.00 MB"
        assert memory.rows[1].measured == "110 MB"
        start = sections.SECTIONS["sparse_start"](quick=True)
        assert start.rows[0].measured == "0.30 s CPU"

    def test_codes_of_fresh_processes_run(self, small_data):
        bare, loaded, peak = map(float, compare.fresh(sparse._MEMORY).output.split())
        assert 0.0 < bare <= loaded <= peak
        more, first = map(float, compare.fresh(sparse._START).output.split())
        assert more < first


class TestAsv:
    """The classes that asv runs."""

    @pytest.mark.parametrize("library", ["nlsq", "scipy"])
    def test_left_out_without_data(self, no_data, library):
        cases = [(bench_sparse.BundleAdjustment, bench_sparse.FILE), (bench_sparse.Factorisations, "M3500, n = 10 500")]
        cases += [(bench_sparse.PoseGraphs, graph) for graph in real_data.GRAPHS]
        for made, parameter in cases:
            with pytest.raises(NotImplementedError):
                made().setup(library, parameter)

    @pytest.mark.parametrize(
        ("made", "parameter"), [(bench_sparse.BundleAdjustment, bench_sparse.FILE), (bench_sparse.PoseGraphs, "intel")]
    )
    def test_both_libraries_reach_the_same_cost(self, small_data, made, parameter):
        costs = []
        for library in ("nlsq", "scipy"):
            benchmark = made()
            benchmark.setup(library, parameter)
            costs.append(benchmark.track_cost(library, parameter))
        np.testing.assert_allclose(*costs, rtol=1e-3)

    def test_both_libraries_factorise(self, small_data):
        for library in ("nlsq", "scipy"):
            benchmark = bench_sparse.Factorisations()
            benchmark.setup(library, "M3500, n = 10 500")
            benchmark.time_factorise(library, "M3500, n = 10 500")
            assert benchmark.entries > 300
