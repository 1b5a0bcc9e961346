"""Bundle adjustment, pose graphs and sparse factorisation; what needs data that are not there is left out."""

from . import factorisations, sparse
from .problems import bundle_adjustment, pose_graphs, real_data


class BundleAdjustment:
    """The bundle adjustment 49-7776 from the file's start; SciPy takes ten seconds and is left to the report."""

    timeout = 300

    def setup(self):
        if real_data.missing(real_data.BUNDLE):
            raise NotImplementedError  # asv leaves the benchmark out
        self.problem = sparse.bundle_problem()
        self.jacobian = sparse.our_jacobian(self.problem)
        sparse.our_solve(self.problem)

    def time_solve(self):
        sparse.our_solve(self.problem)

    def time_jacobian(self):
        self.jacobian()

    def peakmem_solve(self):
        sparse.our_solve(self.problem)

    def track_cost(self):
        return sparse.our_solve(self.problem).cost

    def track_steps(self):
        return sparse.our_solve(self.problem).nit

    track_steps.unit = "steps"


class MadeUpBundleAdjustment:
    """Cameras in a ring around points, which needs no data: the reduced system is sparse for many cameras."""

    params = [20, 200]
    param_names = ["cameras"]
    timeout = 300

    def setup(self, cameras):
        self.problem = sparse.block_problem_of(bundle_adjustment.ring(cameras, 50 * cameras))
        sparse.our_solve(self.problem)

    def time_solve(self, cameras):
        sparse.our_solve(self.problem)

    def track_cost(self, cameras):
        return sparse.our_solve(self.problem).cost


class PoseGraphs:
    """Pose graphs of the data folder, the first pose held."""

    params = list(real_data.GRAPHS)
    param_names = ["graph"]
    timeout = 300

    def setup(self, graph):
        if real_data.missing(real_data.GRAPHS[graph]):
            raise NotImplementedError
        self.graph, self.problem = sparse.graph_problem(graph)
        sparse.our_solve(self.problem)

    def time_solve(self, graph):
        sparse.our_solve(self.problem)

    def track_cost(self, graph):
        return pose_graphs.cost(self.graph, sparse.our_solve(self.problem).values[0])

    def track_steps(self, graph):
        return sparse.our_solve(self.problem).nit

    track_steps.unit = "steps"


class Factorisations:
    """Analysing a matrix, factorising it anew, and the entries of its factor."""

    params = list(factorisations.MATRICES)
    param_names = ["matrix"]

    def setup(self, matrix):
        needs = factorisations.MATRICES[matrix].needs
        if needs and real_data.missing(needs):
            raise NotImplementedError
        self.upper = factorisations.load(matrix)
        self.refactor, self.analysis = factorisations.our_refactor(self.upper)

    def time_analyse(self, matrix):
        factorisations.analysis(self.upper)

    def time_refactor(self, matrix):
        self.refactor()

    def track_entries(self, matrix):
        return self.analysis.nnz_factor

    track_entries.unit = "entries"
