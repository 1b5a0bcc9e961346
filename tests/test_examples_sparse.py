"""The examples of sparse problems: their readers on small files, their residuals by hand, and small runs of each."""

import bz2
import importlib
import math
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture(scope="module")
def load():
    """Import an example or a reader, as a script in its folder would."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        yield importlib.import_module
    finally:
        sys.path.remove(str(EXAMPLES))


@pytest.fixture(scope="module")
def bal(load):
    return load("readers.bal")


@pytest.fixture(scope="module")
def g2o(load):
    return load("readers.g2o")


def file(folder, lines):
    path = folder / "problem.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


# Bundle adjustments: two cameras, three points, three observations

OBSERVATIONS = ["0 2 1.5 -2.5", "1 0     1e-3 7", "0 1 3 4"]
NUMBERS = [str(0.5 * k) for k in range(27)]
BAL = ["2 3 3", *OBSERVATIONS, *NUMBERS]


def changed(lines, line, text):
    """Return lines with one of them, counted from 1, replaced; None leaves it out."""
    return [*lines[: line - 1], *([] if text is None else [text]), *lines[line:]]


class TestBundleAdjustmentFiles:
    """The reader of bundle adjustments."""

    def test_parts(self, bal, tmp_path):
        problem = bal.read(file(tmp_path, BAL))
        assert problem.camera_index.tolist() == [0, 1, 0]
        assert problem.point_index.tolist() == [2, 0, 1]
        np.testing.assert_array_equal(problem.observed, [[1.5, -2.5], [1e-3, 7.0], [3.0, 4.0]])
        np.testing.assert_array_equal(problem.cameras, 0.5 * np.arange(18).reshape(2, 9))
        np.testing.assert_array_equal(problem.points, 0.5 * np.arange(18, 27).reshape(3, 3))

    def test_numbers_may_share_lines_and_files_be_compressed(self, bal, tmp_path):
        text = "\n".join([*BAL[:4], " ".join(NUMBERS[:9]), " ".join(NUMBERS[9:])])
        (tmp_path / "problem.txt.bz2").write_bytes(bz2.compress(text.encode()))
        problem = bal.read(tmp_path / "problem.txt.bz2")
        np.testing.assert_array_equal(problem.points, 0.5 * np.arange(18, 27).reshape(3, 3))

    def test_written_is_read_again(self, bal, tmp_path):
        problem = bal.read(file(tmp_path, BAL))
        again = tmp_path / "again.txt"
        bal.write(again, problem)
        for name, value in vars(bal.read(again)).items():
            np.testing.assert_array_equal(value, getattr(problem, name))

    @pytest.mark.parametrize(
        ("line", "text", "message"),
        [
            (1, "2 3", "line 1: expected 3 whole numbers, got '2 3'"),
            (1, "2 3 x", "line 1: expected 3 whole numbers"),
            (1, "2 3 -1", "line 1: counts are not negative"),
            (3, "1 0 7", "line 3: expected 4 numbers, got '1 0 7'"),
            (3, "1 0 7 8 9", "line 3: expected 4 numbers"),
            (3, "", "line 3: expected 4 numbers, got ''"),
            (3, "1 0 seven 8", "line 3: expected 4 numbers"),
            (4, "0 3 3 4", "line 4: of 2 cameras and 3 points"),
            (4, "2 0 3 4", "line 4: of 2 cameras and 3 points"),
            (4, "-1 0 3 4", "line 4: of 2 cameras and 3 points"),
            (4, "0.5 0 3 4", "line 4: of 2 cameras and 3 points"),
            (10, "one", "line 10: expected numbers, got 'one'"),
            (10, None, "expected 27 numbers of cameras and points, got 26"),
            (10, "1 2", "expected 27 numbers of cameras and points, got 28"),
        ],
    )
    def test_malformed_line_is_named(self, bal, tmp_path, line, text, message):
        with pytest.raises(ValueError, match=message):
            bal.read(file(tmp_path, changed(BAL, line, text)))

    def test_file_that_ends_early(self, bal, tmp_path):
        with pytest.raises(ValueError, match="line 4"):
            bal.read(file(tmp_path, BAL[:3]))


# Pose graphs

PLANAR = [
    "VERTEX_SE2 5 0 0 0",
    "VERTEX_SE2 3 1 0 1.5   # a comment",
    "",
    "# a comment",
    "FIX 5",
    "EDGE_SE2 5 3 1 0.5 1.5  1 2 3 4 5 6",
]
SPACE = [
    "VERTEX_SE3:QUAT 0 0 0 0 0 0 0 1",
    "VERTEX_SE3:QUAT 1 1 2 3 0 0 0.7071 0.7071",
    "EDGE_SE3:QUAT 0 1 1 2 3 0 0 0 1.001 " + " ".join(str(k) for k in range(1, 22)),
]


class TestPoseGraphFiles:
    """The reader of pose graphs."""

    def test_planar(self, g2o, tmp_path):
        graph = g2o.read(file(tmp_path, PLANAR))
        assert (graph.kind, graph.ids.tolist(), graph.edges.tolist()) == ("SE2", [3, 5], [[1, 0]])
        np.testing.assert_array_equal(graph.poses, [[1.0, 0.0, 1.5], [0.0, 0.0, 0.0]])
        np.testing.assert_array_equal(graph.measured, [[1.0, 0.5, 1.5]])
        np.testing.assert_array_equal(graph.information, [[[1.0, 2.0, 3.0], [2.0, 4.0, 5.0], [3.0, 5.0, 6.0]]])
        assert graph.fixed.tolist() == [1]

    def test_space(self, g2o, tmp_path):
        graph = g2o.read(file(tmp_path, SPACE))
        assert (graph.kind, graph.edges.tolist(), graph.fixed.tolist()) == ("SE3", [[0, 1]], [])
        np.testing.assert_allclose(graph.poses[1], [1.0, 2.0, 3.0, 0.0, 0.0, math.sqrt(0.5), math.sqrt(0.5)])
        np.testing.assert_array_equal(graph.measured[0], [1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 1.0])
        information = graph.information[0]
        np.testing.assert_array_equal(information, information.T)
        np.testing.assert_array_equal(information[0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
        np.testing.assert_array_equal(np.diag(information), [1.0, 7.0, 12.0, 16.0, 19.0, 21.0])

    @pytest.mark.parametrize("lines", [PLANAR, SPACE])
    def test_written_is_read_again(self, g2o, tmp_path, lines):
        graph = g2o.read(file(tmp_path, lines))
        again = tmp_path / "again.g2o"
        g2o.write(again, graph)
        for name, value in vars(g2o.read(again)).items():
            np.testing.assert_array_equal(value, getattr(graph, name))

    def test_poses_that_are_not_given_lie_along_measurements(self, g2o, tmp_path):
        ends = ["0 1 1 0 1.5", "1 2 1 0 0", "3 2 0 1 0.5", "2 4 0 0 0"]
        lines = [f"EDGE_SE2 {end} 1 0 0 1 0 1" for end in ends]
        graph = g2o.read(file(tmp_path, lines))
        np.testing.assert_array_equal(graph.poses[:2], [[0.0, 0.0, 0.0], [1.0, 0.0, 1.5]])
        np.testing.assert_allclose(graph.poses[2], [1.0 + math.cos(1.5), math.sin(1.5), 1.5])
        first, second = graph.poses[graph.edges].transpose(1, 0, 2)
        np.testing.assert_allclose(g2o.relative(first, second), graph.measured, atol=1e-15)
        given = g2o.read(file(tmp_path, ["VERTEX_SE2 2 7 8 9", *lines]))
        np.testing.assert_array_equal(given.poses[2], [7.0, 8.0, 9.0])
        first, second = given.poses[given.edges].transpose(1, 0, 2)
        np.testing.assert_allclose(g2o.relative(first, second), given.measured, atol=1e-14)

    def test_poses_compose(self, g2o):
        rng = np.random.default_rng(0)
        poses = rng.standard_normal((3, 5, 7))
        poses[..., 3:] /= np.linalg.norm(poses[..., 3:], axis=-1, keepdims=True)
        a, b, c = poses
        np.testing.assert_allclose(g2o.compose(a, g2o.relative(a, b)), b, atol=1e-14)
        np.testing.assert_allclose(g2o.compose(g2o.compose(a, b), c), g2o.compose(a, g2o.compose(b, c)), atol=1e-14)
        quarter = [0.0, 0.0, 0.0, 0.0, 0.0, math.sqrt(0.5), math.sqrt(0.5)]
        turned = g2o.compose(quarter, [1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 1.0])
        np.testing.assert_allclose(turned[:3], [-2.0, 1.0, 3.0])

    @pytest.mark.parametrize(
        ("lines", "message"),
        [
            ([*PLANAR, "VERTEX_SE2 7 1 2"], "line 7: expected VERTEX_SE2 with 1 whole number and 3 numbers"),
            ([*PLANAR, "VERTEX_SE2 7 1 2 three"], "line 7: expected VERTEX_SE2"),
            ([*PLANAR, "VERTEX_SE2 7.5 1 2 3"], "line 7: expected VERTEX_SE2"),
            ([*PLANAR, "EDGE_SE2 5 3 1 0.5 1.5 1 2 3 4 5"], "line 7: expected EDGE_SE2 with 2 whole numbers and 9"),
            ([*PLANAR, "EDGE_SE2 5 3 1 0.5 1.5 1 2 3 4 5 6 7"], "line 7: expected EDGE_SE2"),
            ([*PLANAR, "VERTEX_XY 7 1 2"], "line 7: expected VERTEX_SE2, EDGE_SE2 or FIX, got 'VERTEX_XY'"),
            ([*PLANAR, "VERTEX_SE2 5 1 2 3"], "line 7: a second pose of the same id"),
            ([*PLANAR, "EDGE_SE2 5 5 1 0.5 1.5 1 2 3 4 5 6"], "line 7: a measurement of a pose from itself"),
            ([*PLANAR, "FIX 8"], "line 7: expected ids of poses, got 'FIX 8'"),
            ([*PLANAR, "EDGE_SE2 8 9 1 0.5 1.5 1 2 3 4 5 6"], "pose 8 has no place"),
            ([*PLANAR, *SPACE], "poses of one kind, found SE2 and SE3"),
            ([], "found none"),
            ([*SPACE, "VERTEX_SE3:QUAT 2 1 2 3 0 0 0 0"], "line 4: a quaternion of length 0"),
            ([*SPACE, "VERTEX_SE3:QUAT 2 1 2 3 0 0 1 1"], "line 4: a quaternion of length 1.41"),
        ],
    )
    def test_malformed_line_is_named(self, g2o, tmp_path, lines, message):
        with pytest.raises(ValueError, match=message):
            g2o.read(file(tmp_path, lines))


# Residuals by hand


class TestResiduals:
    """The kernels of the examples, called as plain functions."""

    def test_camera_that_looks_ahead(self, load):
        example = load("bundle_adjustment")
        camera = (0.0, 0.0, 0.0, 0.0, 0.0, -4.0, 100.0, 0.1, 0.01)
        seen = example.reproject(camera, (1.0, 2.0, 0.0), (3.0, 4.0))
        scale = 100.0 * (1.0 + 0.1 * 0.3125 + 0.01 * 0.3125**2)
        np.testing.assert_allclose(seen, [0.25 * scale - 3.0, 0.5 * scale - 4.0])

    def test_turning(self, load):
        example = load("bundle_adjustment")
        np.testing.assert_allclose(example.turned((0.0, 0.0, math.pi / 2), (1.0, 2.0, 3.0)), (-2.0, 1.0, 3.0))
        point, tiny = (0.3, -0.4, 0.5), (1e-9, 2e-9, -3e-9)
        np.testing.assert_allclose(example.turned(tiny, point), point + np.cross(tiny, point), rtol=1e-15)

    def test_measurements_that_agree_have_no_residual(self, load, g2o):
        example = load("pose_graph")
        rng = np.random.default_rng(1)
        for kind, size in (("SE2", 3), ("SE3", 7)):
            first, step = rng.standard_normal((2, size))
            if kind == "SE3":
                first[3:] /= np.linalg.norm(first[3:])
                step[3:] /= np.linalg.norm(step[3:])
            second = g2o.compose(first, step)
            residual = example.RESIDUALS[kind]
            np.testing.assert_allclose(residual(first, second, step), 0.0, atol=1e-14)
            moved = second + 1e-3 * np.eye(size)[0]
            assert math.isclose(math.hypot(*residual(first, moved, step)), 1e-3, rel_tol=1e-9)

    def test_an_angle_is_taken_as_the_smaller_one(self, load):
        example = load("pose_graph")
        far = example.measured_in_plane((0.0, 0.0, 3.0), (0.0, 0.0, -3.0), (0.0, 0.0, 0.0))
        np.testing.assert_allclose(far[2], 2.0 * math.pi - 6.0)

    def test_rotation_is_measured_by_its_angle(self, load):
        example = load("pose_graph")
        identity = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
        turned = (0.0, 0.0, 0.0, 0.0, math.sin(5e-5), 0.0, math.cos(5e-5))
        np.testing.assert_allclose(
            example.measured_in_space(identity, turned, identity)[3:], [0.0, 1e-4, 0.0], rtol=1e-8
        )

    def test_heat_is_not_lost(self, load):
        example = load("heat_conductivity")
        rng = np.random.default_rng(2)
        s, u = rng.standard_normal((2, 5, 5))
        inside = example.outflow(s, u).sum()
        rim = sum(np.sum(2.0 * np.exp(s[k]) * u[k]) for k in (0, -1, np.s_[:, 0], np.s_[:, -1]))
        np.testing.assert_allclose(inside, rim)


# Small runs


class TestRuns:
    """Each example on something small."""

    def test_bundle_adjustment(self, load):
        example = load("bundle_adjustment")
        scene = example.made_up_scene(n_cameras=5, n_points=40)
        before, after, result, cameras, _ = example.adjust(scene)
        assert result.converged
        assert np.sqrt(np.mean(after**2)) < 0.6 < 5.0 < np.sqrt(np.mean(before**2))
        assert result[cameras].shape == (5, 9)
        assert "reproject" in result.report()

    def test_bundle_adjustment_of_a_file(self, load, bal, tmp_path, capsys):
        example = load("bundle_adjustment")
        bal.write(tmp_path / "scene.txt", example.made_up_scene(n_cameras=4, n_points=30))
        assert example.main([str(tmp_path / "scene.txt")]).converged
        assert "residuals after" in capsys.readouterr().out

    @pytest.mark.parametrize("name", ["town", "torus"])
    def test_pose_graph(self, load, name):
        example = load("pose_graph")
        graph = example.town(300) if name == "town" else example.torus(60, turns=5)
        poses, result = example.optimise(graph)
        assert result.converged
        assert result.cost < result.initial_cost
        np.testing.assert_array_equal(poses[0], graph.poses[0])

    def test_pose_graph_of_a_file(self, load, g2o, tmp_path, capsys):
        example = load("pose_graph")
        g2o.write(tmp_path / "graph.g2o", example.torus(60, turns=5))
        assert example.main([str(tmp_path / "graph.g2o")]).converged
        assert "60 poses and" in capsys.readouterr().out

    def test_heat(self, load, capsys):
        example = load("heat_conductivity")
        assert example.main(["--size", "12"]).converged
        assert "288 unknowns" in capsys.readouterr().out
