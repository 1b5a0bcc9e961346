// Bundle adjustment of a file of 'Bundle Adjustment in the Large' by Ceres: the peer of benchmarks/sparse.py.
//
// Build, with Debian's libceres-dev (2.1) or a later Ceres:
//
//     g++ -O3 -march=native -DNDEBUG -std=c++17 -I/usr/include/eigen3 ceres_bal.cpp -o ceres_bal -lceres -lglog
//
// Run:
//
//     OPENBLAS_NUM_THREADS=1 ./ceres_bal problem-49-7776-pre.txt [dense|sparse|iterative] [repetitions] [report]
//
// One thread, Levenberg-Marquardt with Ceres' defaults (function_tolerance 1e-6), at most 50 iterations, derivatives by
// AutoDiffCostFunction, and camera models as in the file: x_axis_angle (3), translation (3), focal length, k1, k2;
// the point is turned, moved and projected to -X/Z, -Y/Z. Prints one line of JSON: CPU seconds of Solve (the median over
// the repetitions, each from the file's start), iterations, costs, milliseconds of one Jacobian (the CPU time of
// Problem::Evaluate, and the solver's own sum over its evaluations), and the peak memory of the process in MB before
// the problem is built and at the end.

#include <ceres/ceres.h>
#include <ceres/rotation.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

namespace {

double CpuSeconds() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return now.tv_sec + 1e-9 * now.tv_nsec;
}

double PeakMegabytes() {  // of this process alone: getrusage begins at what its parent had
  FILE* file = std::fopen("/proc/self/status", "r");
  char line[256];
  double kilobytes = 0.0;
  while (file != nullptr && std::fgets(line, sizeof line, file) != nullptr)
    if (std::sscanf(line, "VmHWM: %lf", &kilobytes) == 1) break;
  if (file != nullptr) std::fclose(file);
  return kilobytes / 1024.0;
}

struct Bal {
  int cameras = 0, points = 0, observations = 0;
  std::vector<int> camera, point;
  std::vector<double> observed, start;

  explicit Bal(const char* path) {
    FILE* file = std::fopen(path, "r");
    if (file == nullptr || std::fscanf(file, "%d %d %d", &cameras, &points, &observations) != 3) Fail(path);
    camera.resize(observations);
    point.resize(observations);
    observed.resize(2 * observations);
    start.resize(9 * cameras + 3 * points);
    for (int i = 0; i < observations; ++i) {
      if (std::fscanf(file, "%d %d %lf %lf", &camera[i], &point[i], &observed[2 * i], &observed[2 * i + 1]) != 4)
        Fail(path);
    }
    for (double& value : start)
      if (std::fscanf(file, "%lf", &value) != 1) Fail(path);
    std::fclose(file);
  }

  [[noreturn]] static void Fail(const char* path) {
    std::fprintf(stderr, "%s is no bundle adjustment\n", path);
    std::exit(1);
  }
};

struct Reprojection {
  double u, v;

  template <typename T>
  bool operator()(const T* camera, const T* point, T* residual) const {
    T p[3];
    ceres::AngleAxisRotatePoint(camera, point, p);
    p[0] += camera[3];
    p[1] += camera[4];
    p[2] += camera[5];
    const T x = -p[0] / p[2], y = -p[1] / p[2];
    const T r2 = x * x + y * y;
    const T f = camera[6] * (1.0 + r2 * (camera[7] + camera[8] * r2));
    residual[0] = f * x - u;
    residual[1] = f * y - v;
    return true;
  }
};

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: ceres_bal FILE [dense|sparse|iterative] [repetitions] [report]\n");
    return 1;
  }
  google::InitGoogleLogging(argv[0]);
  const Bal data(argv[1]);
  const std::string linear = argc > 2 ? argv[2] : "dense";
  const int repetitions = argc > 3 ? std::atoi(argv[3]) : 1;

  ceres::Solver::Options options;
  options.linear_solver_type = linear == "sparse"      ? ceres::SPARSE_SCHUR
                               : linear == "iterative" ? ceres::ITERATIVE_SCHUR
                                                       : ceres::DENSE_SCHUR;
  options.num_threads = 1;
  options.max_num_iterations = 50;
  options.function_tolerance = 1e-6;
  options.gradient_tolerance = 1e-10;
  options.parameter_tolerance = 1e-8;

  const double before = PeakMegabytes();
  std::vector<double> taken, jacobian, whole;
  ceres::Solver::Summary summary;
  for (int repetition = 0; repetition < repetitions; ++repetition) {
    const double begin = CpuSeconds();
    std::vector<double> x = data.start;
    ceres::Problem problem;
    for (int i = 0; i < data.observations; ++i) {
      auto* cost = new ceres::AutoDiffCostFunction<Reprojection, 2, 9, 3>(
          new Reprojection{data.observed[2 * i], data.observed[2 * i + 1]});
      problem.AddResidualBlock(cost, nullptr, &x[9 * data.camera[i]], &x[9 * data.cameras + 3 * data.point[i]]);
    }
    const double built = CpuSeconds();
    ceres::Solve(options, &problem, &summary);
    const double solved = CpuSeconds();
    taken.push_back(solved - built);
    whole.push_back(solved - begin);
    jacobian.push_back(1e3 * summary.jacobian_evaluation_time_in_seconds / summary.num_jacobian_evaluations);
  }
  const double peak = PeakMegabytes();
  if (argc > 4) std::fprintf(stderr, "%s\n", summary.FullReport().c_str());
  std::printf(
      "{\"ceres\": \"%s\", \"linear_solver\": \"%s\", \"cpu_s\": %.4f, \"cpu_with_building_s\": %.4f, "
      "\"iterations\": %d, \"initial_cost\": %.9g, \"cost\": %.12g, \"jacobian_ms\": %.3f, \"jacobians\": %d, "
      "\"peak_mb\": %.1f, \"peak_before_mb\": %.1f}\n",
      CERES_VERSION_STRING, linear.c_str(), Median(taken), Median(whole),
      summary.num_successful_steps + summary.num_unsuccessful_steps - 1, summary.initial_cost, summary.final_cost,
      Median(jacobian), summary.num_jacobian_evaluations, peak, before);
  return 0;
}
