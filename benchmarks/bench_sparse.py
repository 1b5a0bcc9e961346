"""Bundle adjustment, pose graphs and sparse factorisation beside SciPy; Ceres, GTSAM and CHOLMOD are in the report.

Problems made up come first; those of the data folder are left out where they are not there.
"""

from . import factorisations, sparse
from .libraries import LIBRARIES
from .problems import bundle_adjustment, pose_graphs, real_data

RINGS = {"ring of 8": (8, 200), "ring of 200": (200, 10_000)}
FILE = "49-7776"
WORLDS = {"grid world": lambda: pose_graphs.grid_world(20), "helix": lambda: pose_graphs.helix(2500, 50)}


class BundleAdjustment:
    """Cameras in a ring around points, and the bundle adjustment 49-7776 from the file's start."""

    params = [LIBRARIES, [*RINGS, FILE]]
    param_names = ["library", "scene"]
    timeout = 300

    def setup(self, library, scene):
        if scene == FILE and real_data.missing(real_data.BUNDLE):
            raise NotImplementedError  # asv leaves the combination out
        if scene == "ring of 200" and library == "scipy":
            raise NotImplementedError  # takes minutes
        made = bundle_adjustment.read() if scene == FILE else bundle_adjustment.ring(*RINGS[scene])
        if library == "nlsq":
            problem = sparse.block_problem_of(made)
            self.solve = lambda: sparse.our_solve(problem)
            self.solve()
        else:
            self.solve = lambda: sparse.scipy_solve(made)

    def time_solve(self, library, scene):
        self.solve()

    def peakmem_solve(self, library, scene):
        self.solve()

    def track_cost(self, library, scene):
        return self.solve().cost

    track_cost.unit = "pixels^2"


class PoseGraphs:
    """Pose graphs, the first pose held; SciPy has no poses in space."""

    params = [LIBRARIES, [*WORLDS, *real_data.GRAPHS]]
    param_names = ["library", "graph"]
    timeout = 300

    def setup(self, library, graph):
        if graph in real_data.GRAPHS and real_data.missing(real_data.GRAPHS[graph]):
            raise NotImplementedError
        made = pose_graphs.read(graph) if graph in real_data.GRAPHS else WORLDS[graph]()
        if library == "scipy" and made.kind == "SE3":
            raise NotImplementedError
        if library == "nlsq":
            problem = sparse.block_problem_of_graph(made)
            self.solve = lambda: sparse.our_solve(problem)
            self.solve()
        else:
            self.solve = lambda: sparse.scipy_plane_solve(made)

    def time_solve(self, library, graph):
        self.solve()

    def track_cost(self, library, graph):
        return self.solve().cost

    track_cost.unit = "cost"


class Factorisations:
    """Factorising a matrix anew; SciPy's `splu` has to analyse it each time."""

    params = [LIBRARIES, list(factorisations.MATRICES)]
    param_names = ["library", "matrix"]

    def setup(self, library, matrix):
        needs = factorisations.MATRICES[matrix].needs
        if needs and real_data.missing(needs):
            raise NotImplementedError
        upper = factorisations.load(matrix)
        if library == "nlsq":
            self.factorise, found = factorisations.our_refactor(upper)
            self.entries = found.nnz_factor
        else:
            self.factorise = factorisations.scipy_factorisation(upper)
            self.entries = self.factorise().L.nnz

    def time_factorise(self, library, matrix):
        self.factorise()

    def track_entries(self, library, matrix):
        return self.entries

    track_entries.unit = "entries"
