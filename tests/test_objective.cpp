// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <unistd.h>

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>

#include "host/data_file.hpp"
#include "tests/host_fixtures.hpp"

namespace pathbound {
namespace {

using namespace fixtures;

/// A file that lives as long as the object.
class TempFile {
 public:
  TempFile(const std::string& name, const std::string& text)
      : path_(std::filesystem::temp_directory_path() / ("pathbound_" + std::to_string(::getpid()) + "_" + name)) {
    std::ofstream(path_, std::ios::binary) << text;
  }
  ~TempFile() { std::filesystem::remove(path_); }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

ObjectiveConfig data_objective(ObjectiveKind kind, int rows, int dim, std::uint64_t seed = 1, double lam = 0.1) {
  auto config = simple(kind, std::vector<double>(static_cast<std::size_t>(dim), 1.0));
  config.rows = rows;
  config.data_seed = seed;
  config.lam = kind == ObjectiveKind::logistic ? lam : 0.0;
  return config;
}

std::vector<ObjectiveConfig> every_objective() {
  auto saddle = quadratic({-1.5, 0.5, 2.0});
  saddle.kind = ObjectiveKind::saddle;
  saddle.lam = 0.7;
  return {quadratic({0.3, 1.0, 4.0}),
          simple(ObjectiveKind::quartic, {1.0, -0.5, 2.0}),
          simple(ObjectiveKind::cosh, {1.0, -0.5, 2.0}),
          simple(ObjectiveKind::sine_pl, {1.0, -0.5, 2.0}),
          saddle,
          data_objective(ObjectiveKind::least_squares, 20, 3),
          data_objective(ObjectiveKind::logistic, 40, 3)};
}

std::vector<double> random_point(std::mt19937_64& engine, std::size_t d, double scale = 1.0) {
  std::uniform_real_distribution<double> uniform(-scale, scale);
  std::vector<double> x(d);
  for (double& v : x) v = uniform(engine);
  return x;
}

double norm_sq(const std::vector<double>& v) {
  double sum = 0.0;
  for (const double x : v) sum += x * x;
  return sum;
}

TEST(Objective, GradientIsTheDerivativeOfSuboptimality) {
  std::mt19937_64 engine(1);
  for (const auto& config : every_objective()) {
    const Objective f(config);
    for (int i = 0; i < 20; ++i) {
      auto x = random_point(engine, 3, 2.0);
      const auto g = f.gradient(x);
      for (std::size_t j = 0; j < 3; ++j) {
        const double at = x[j], step = 1e-5;
        x[j] = at + step;
        const double up = f.suboptimality(x);
        x[j] = at - step;
        const double down = f.suboptimality(x);
        x[j] = at;
        EXPECT_NEAR((up - down) / (2.0 * step), g[j], 1e-8 * (1.0 + std::fabs(g[j]) + up))
            << static_cast<int>(config.kind);
      }
    }
  }
}

TEST(Objective, SuboptimalityIsZeroWithZeroGradientAtTheOptimumAndPositiveElsewhere) {
  std::mt19937_64 engine(2);
  for (const auto& config : every_objective()) {
    const Objective f(config);
    EXPECT_NEAR(f.suboptimality(f.x_star()), 0.0, 1e-30);
    for (const double g : f.gradient(f.x_star())) EXPECT_NEAR(g, 0.0, 2e-15);
    for (int i = 0; i < 100; ++i) EXPECT_GE(f.suboptimality(random_point(engine, 3, 3.0)), 0.0);
    EXPECT_EQ(f.constants().suboptimality_at_start, f.suboptimality(config.start));
    EXPECT_EQ(f.constants().gradient_at_start, f.gradient(config.start));
  }
}

TEST(Objective, ConstantsBoundTheGradientAsTheyPromise) {
  std::mt19937_64 engine(3);
  for (const auto& config : every_objective()) {
    const Objective f(config);
    const auto& c = f.constants();
    for (int i = 0; i < 2000; ++i) {
      const auto x = random_point(engine, 3, 4.0);
      const double s = f.suboptimality(x), g2 = norm_sq(f.gradient(x));
      EXPECT_GE(g2, 2.0 * c.mu.value.value_or(0.0) * s * (1.0 - 1e-12));
      EXPECT_LE(g2, 2.0 * c.L.value.value_or(1e9) * s * (1.0 + 1e-12));
    }
  }
}

TEST(Objective, SecondDerivativesObeyL0L1) {
  // One coordinate is enough: |H| = max_j f''(x_j) and |grad f| >= |f'(x_j)|.
  for (const double l1 : {0.5, 1.0, 3.0}) {
    auto config = simple(ObjectiveKind::quartic, {1.0});
    config.L1 = l1;
    const auto c = Objective(config).constants();
    EXPECT_EQ(*c.L0.value, 4.0 / (l1 * l1));
    double closest = 1e9;
    for (double x = 0.0; x < 20.0; x += 1e-3) {
      closest = std::min(closest, *c.L0.value + *c.L1.value * x * x * x - 3.0 * x * x);
    }
    EXPECT_GE(closest, 0.0 - 1e-12);
    EXPECT_LE(closest, 1e-4);  // and no smaller L0 would do
  }
  const Objective cosh(simple(ObjectiveKind::cosh, {1.0}));
  for (double x = -5.0; x < 5.0; x += 1e-2) {
    EXPECT_LE(std::cosh(x), *cosh.constants().L0.value + *cosh.constants().L1.value * std::fabs(std::sinh(x)));
  }
}

TEST(Objective, ProvenanceSaysHowAConstantIsKnown) {
  EXPECT_EQ(Objective(quadratic({1.0, 2.0})).constants().mu.provenance, Provenance::proved);
  EXPECT_EQ(Objective(quadratic({1.0, 2.0})).constants().L.value, 2.0);
  auto sine = simple(ObjectiveKind::sine_pl, {1.0});
  EXPECT_EQ(Objective(sine).constants().mu.provenance, Provenance::numerical);
  sine.mu = 1.0 / 32.0;
  EXPECT_EQ(Objective(sine).constants().mu.provenance, Provenance::user);
  EXPECT_EQ(Objective(sine).constants().mu.value, 1.0 / 32.0);
  const Objective quartic(simple(ObjectiveKind::quartic, {1.0}));
  EXPECT_FALSE(quartic.constants().mu.value || quartic.constants().L.value);
  EXPECT_TRUE(quartic.constants().super_quadratic);
}

TEST(SinePl, MuIsTheMinimumOfTheQuotientToSixDigits) {
  // f'^2/(2 f) is even, tends to 8 at 0, and for x > 12 it is at least (2x - 3)^2/(2 (x^2 + 3)) > 1.4.
  double least = 1e9, where = 0.0;
  const auto quotient = [](double x) {
    const double g = 2.0 * x + 3.0 * std::sin(2.0 * x), s = std::sin(x);
    return g * g / (2.0 * (x * x + 3.0 * s * s));
  };
  for (double x = 1e-3; x < 12.0; x += 1e-4) {
    if (quotient(x) < least) {
      least = quotient(x);
      where = x;
    }
  }
  double step = 1e-4;
  for (int i = 0; i < 60; ++i, step *= 0.7) {
    for (const double x : {where - step, where + step}) {
      if (quotient(x) < least) {
        least = quotient(x);
        where = x;
      }
    }
  }
  const double mu = *Objective(simple(ObjectiveKind::sine_pl, {1.0})).constants().mu.value;
  EXPECT_LE(mu, least);
  EXPECT_GE(mu, least - 1e-8);
  EXPECT_NEAR(mu, 0.175531, 5e-7);
  RecordProperty("minimum", std::to_string(least));
}

TEST(Cosh, SuboptimalityDoesNotCancelNearTheOptimum) {
  const Objective f(simple(ObjectiveKind::cosh, {1.0}));
  EXPECT_DOUBLE_EQ(f.suboptimality({1e-9}), 0.5e-18);
}

TEST(Saddle, MinimumIsTheKnownOne) {
  auto config = quadratic({-1.0, 2.0});
  config.kind = ObjectiveKind::saddle;
  config.lam = 0.5;
  const Objective f(config);
  EXPECT_DOUBLE_EQ(f.constants().f_star, -0.5);  // -h^2/(4 lam)
  EXPECT_DOUBLE_EQ(f.x_star()[0], std::sqrt(2.0));
  // S = f - f* with f = (-1 + 2)/2 + .5/4 * 2 at (1, 1)
  EXPECT_DOUBLE_EQ(f.suboptimality({1.0, 1.0}), 0.75 + 0.5);
}

// ---- least squares

TEST(LeastSquares, SyntheticMatrixHasTheAskedRankAndCondition) {
  for (const auto& [rows, dim, rank, condition] :
       {std::tuple{30, 6, 6, 10.0}, {30, 6, 4, 100.0}, {5, 12, 5, 1e4}, {7, 7, 1, 1.0}, {200, 40, 40, 1e6}}) {
    auto config = data_objective(ObjectiveKind::least_squares, rows, dim);
    config.rank = rank;
    config.condition = condition;
    const Objective f(config);
    EXPECT_NEAR(*f.constants().L.value, 1.0, 1e-12);
    EXPECT_NEAR(*f.constants().mu.value * condition, 1.0, 1e-8) << rows << " " << dim << " " << rank;
    EXPECT_NE(f.constants().mu.detail.find("least of the " + std::to_string(rank) + " nonzero"), std::string::npos);
  }
}

TEST(LeastSquares, SpecHoldsGramRowsAndOptimum) {
  const auto config = data_objective(ObjectiveKind::least_squares, 9, 4);
  const Objective f(config);
  const auto spec = f.spec<double>();
  ASSERT_EQ(spec.n_rows, 9);
  ASSERT_EQ(spec.dim, 4);
  EXPECT_EQ(spec.rows, nullptr);
  EXPECT_EQ(spec.margin_star, nullptr);
  EXPECT_EQ(spec.h, nullptr);
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) {
      double sum = 0.0;
      for (int r = 0; r < 9; ++r) sum += spec.rows_double[r * 4 + i] * spec.rows_double[r * 4 + j] / 9.0;
      EXPECT_NEAR(spec.gram[i * 4 + j], sum, 1e-15);
      EXPECT_EQ(spec.gram[i * 4 + j], spec.gram[j * 4 + i]);
    }
    EXPECT_EQ(spec.x_star[i], f.x_star()[static_cast<std::size_t>(i)]);
    EXPECT_EQ(spec.x_star_double[i], f.x_star()[static_cast<std::size_t>(i)]);
    EXPECT_EQ(f.spec<float>().x_star[i], static_cast<float>(spec.x_star[i]));
  }
}

TEST(LeastSquares, FileSolutionIsTheMinimumNormSolutionOfAnInconsistentSystem) {
  // Rank 1: A = (1 2), (2 4), (0 0); b = (1, 3, 2). Normal equations: 5 (x1 + 2 x2) = 7, minimum norm (7/25)(1, 2).
  const TempFile file("ls.csv", "a,b,target\n1,2,1\n2,4,3\n0,0,2\n");
  auto config = simple(ObjectiveKind::least_squares, {0.0, 0.0});
  config.file = file.path();
  const Objective f(config);
  EXPECT_NEAR(f.x_star()[0], 7.0 / 25.0, 1e-14);
  EXPECT_NEAR(f.x_star()[1], 14.0 / 25.0, 1e-14);
  EXPECT_NEAR(*f.constants().mu.value, 25.0 / 3.0, 1e-13);
  EXPECT_NEAR(*f.constants().L.value, 25.0 / 3.0, 1e-13);
  // f* = ((7/5 - 1)^2 + (14/5 - 3)^2 + 4)/6 and S(0) = (1 + 9 + 4)/6 - f*
  EXPECT_NEAR(f.constants().f_star, (0.16 + 0.04 + 4.0) / 6.0, 1e-14);
  EXPECT_NEAR(f.constants().suboptimality_at_start, (14.0 - 4.2) / 6.0, 1e-14);
  // S does not depend on which solution is taken: moving along the null space (2, -1) changes nothing.
  EXPECT_NEAR(f.suboptimality({7.0 / 25.0 + 2.0, 14.0 / 25.0 - 1.0}), 0.0, 1e-28);
}

TEST(LeastSquares, SyntheticDataHaveTheseBitsOnEveryMachine) {
  const Objective f([] {
    auto config = data_objective(ObjectiveKind::least_squares, 3, 2, 7);
    config.condition = 4.0;
    return config;
  }());
  const double* a = f.spec<double>().rows_double;
  const double expected[] = {0x1.d98843a0b5edcp-4, 0x1.970fee545b8e8p-1,  0x1.3f15cebdf9b4p+0,
                             0x1.14249401e8f5ep-1, -0x1.44cd79953ac07p-2, -0x1.13a81596f3e88p+0};
  for (int i = 0; i < 6; ++i) EXPECT_EQ(a[i], expected[i]) << i << std::hexfloat << " " << a[i];
}

// ---- logistic

TEST(Logistic, SuboptimalityMatchesThePlainDifferenceFarFromTheOptimum) {
  const auto config = data_objective(ObjectiveKind::logistic, 50, 4, 3, 0.05);
  const Objective f(config);
  const auto spec = f.spec<double>();
  const auto value = [&](const std::vector<double>& x) {
    double sum = 0.0;
    for (int r = 0; r < 50; ++r) {
      double m = 0.0;
      for (std::size_t j = 0; j < 4; ++j) m += spec.rows[static_cast<std::size_t>(r) * 4 + j] * x[j];
      sum += std::max(-m, 0.0) + std::log1p(std::exp(-std::fabs(m)));
    }
    return sum / 50.0 + 0.5 * 0.05 * norm_sq(x);
  };
  EXPECT_NEAR(f.constants().f_star, value(f.x_star()), 1e-15);
  std::mt19937_64 engine(5);
  for (const double scale : {1.0, 10.0, 100.0, 1e4}) {
    for (int i = 0; i < 20; ++i) {
      const auto x = random_point(engine, 4, scale);
      EXPECT_NEAR(f.suboptimality(x), value(x) - value(f.x_star()), 1e-13 * (1.0 + value(x)));
    }
  }
}

TEST(Logistic, SuboptimalityIsQuadraticNearTheOptimum) {
  const Objective f(data_objective(ObjectiveKind::logistic, 50, 3, 3, 0.05));
  const std::vector<double> direction{0.6, -0.3, 0.2};
  const auto at = [&](double h) {
    auto x = f.x_star();
    for (std::size_t j = 0; j < 3; ++j) x[j] += h * direction[j];
    return f.suboptimality(x) / (h * h);
  };
  EXPECT_NEAR(at(1e-5) / at(1e-4), 1.0, 1e-3);
  EXPECT_NEAR(at(1e-6) / at(1e-4), 1.0, 1e-3);
}

TEST(Logistic, ConstantsAreLamAndTheSpectralNorm) {
  for (const auto& [rows, dim] : {std::pair{60, 5}, {4, 9}}) {
    const Objective f(data_objective(ObjectiveKind::logistic, rows, dim, 2, 0.3));
    const auto spec = f.spec<double>();
    // Power iteration on A^T A.
    std::vector<double> v(static_cast<std::size_t>(dim), 1.0);
    double lambda = 0.0;
    for (int i = 0; i < 5000; ++i) {
      std::vector<double> w(v.size(), 0.0);
      for (int r = 0; r < rows; ++r) {
        double m = 0.0;
        for (int j = 0; j < dim; ++j) m += spec.rows[r * dim + j] * v[static_cast<std::size_t>(j)];
        for (int j = 0; j < dim; ++j) w[static_cast<std::size_t>(j)] += m * spec.rows[r * dim + j];
      }
      lambda = std::sqrt(norm_sq(w));
      for (std::size_t j = 0; j < v.size(); ++j) v[j] = w[j] / lambda;
    }
    EXPECT_EQ(*f.constants().mu.value, 0.3);
    EXPECT_NEAR(*f.constants().L.value, 0.3 + lambda / (4.0 * rows), 1e-12);
  }
}

TEST(Logistic, NewtonReachesTheRoundingFloorForManyScalesAndRegularisations) {
  for (const double lam : {1e-8, 1e-4, 1.0, 1e3}) {
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
      const Objective f(data_objective(ObjectiveKind::logistic, 12, 6, seed, lam));
      EXPECT_LT(std::sqrt(norm_sq(f.gradient(f.x_star()))), 1e-12) << lam << " " << seed;
    }
  }
}

TEST(Logistic, FileLabelsMayBeAnyTwoValues) {
  const TempFile zero_one("l01.csv", "1.5,0.5,0\n-1,0.25,1\n0.5,-1,1\n2,1,0\n");
  const TempFile sparse("l.libsvm", "+1 1:1.5 2:0.5\n2 1:-1 2:0.25 # comment\n\n2 1:.5 2:-1e0\n1 1:2 2:1\n");
  auto config = simple(ObjectiveKind::logistic, {0.0, 0.0});
  config.lam = 0.2;
  config.file = zero_one.path();
  const Objective a(config);
  config.file = sparse.path();
  const Objective b(config);
  EXPECT_EQ(a.x_star(), b.x_star());
  const auto spec = a.spec<float>();  // rows y a: the smaller label is -1
  EXPECT_EQ(spec.rows[0], -1.5f);
  EXPECT_EQ(spec.rows[2], -1.0f);
  EXPECT_EQ(spec.n_rows, 4);
  EXPECT_EQ(a.constants().suboptimality_at_start, std::log(2.0) - a.constants().f_star + 0.0);
}

TEST(Logistic, SyntheticDataHaveTheseBitsOnEveryMachine) {
  const Objective f(data_objective(ObjectiveKind::logistic, 3, 2, 7));
  const double* a = f.spec<double>().rows;
  const double expected[] = {0x1.047d94c7ad9b6p-1, 0x1.cc159d51e8d3p-1,  -0x1.87c48cfb7e5a8p-1,
                             0x1.9151b01367fdep-1, 0x1.6f5681e0bd60ap-1, 0x1.c795a8b7f808ap-1};
  for (int i = 0; i < 6; ++i) EXPECT_EQ(a[i], expected[i]) << i << std::hexfloat << " " << a[i];
}

TEST(SyntheticData, DependOnTheSeedAlone) {
  for (const auto kind : {ObjectiveKind::least_squares, ObjectiveKind::logistic}) {
    const Objective a(data_objective(kind, 10, 3, 5)), b(data_objective(kind, 10, 3, 5)),
        c(data_objective(kind, 10, 3, 6));
    const auto rows = [](const Objective& f) {
      return std::vector<double>(f.spec<double>().rows_double, f.spec<double>().rows_double + 30);
    };
    EXPECT_EQ(rows(a), rows(b));
    EXPECT_EQ(a.x_star(), b.x_star());
    EXPECT_NE(rows(a), rows(c));
  }
}

// ---- files that are wrong

std::string error_of(const std::string& name, const std::string& text, ObjectiveKind kind = ObjectiveKind::logistic) {
  const TempFile file(name, text);
  auto config = simple(kind, {1.0, 1.0});
  config.lam = 0.1;
  config.file = file.path();
  try {
    const Objective f(config);
  } catch (const InputError& error) {
    const std::string what = error.what();
    EXPECT_EQ(what.find(file.path()), 0u) << what;
    return what.substr(std::min(what.size(), file.path().size()));
  }
  return "no error";
}

void expect_error(const std::string& actual, const std::string& position, const std::string& text) {
  EXPECT_EQ(actual.find(position), 0u) << actual;
  EXPECT_NE(actual.find(text), std::string::npos) << actual;
}

TEST(DataFile, CsvErrorsNameFileAndLine) {
  expect_error(error_of("e1.csv", "a,b,y\n1,2,0\n1,x,1\n"), ":3:", "\"x\" is not a number");
  expect_error(error_of("e2.csv", "1,2,0\n1,,1\n"), ":2:", "\"\" is not a number");
  expect_error(error_of("e3.csv", "1,2,0\n\n1,2\n"), ":3:", "2 columns where the first row has 3");
  expect_error(error_of("e4.csv", "1,nan,0\n1,2,1\n"), ":1:", "out of range");
  expect_error(error_of("e5.csv", "1,2,0\n1,-inf,1\n"), ":2:", "out of range");
  expect_error(error_of("e6.csv", "1,2,0\n1,1e999,1\n"), ":2:", "out of range");
  expect_error(error_of("e7.csv", "1,2,0\n1,2,yes\n"), ":2:", "the label (column 3): \"yes\"");
  expect_error(error_of("e8.csv", "1,2,3,0\n"), ":1:", "dim must equal the number of features");
  expect_error(error_of("e9.csv", "1,b,0\n2,3,1\n"), ":1:", "\"b\" is not a number");  // not a header: it has numbers
  expect_error(error_of("e10.csv", "1 2,3,0\n"), ":1:", "\"1 2\" is not a number");
}

TEST(DataFile, LibsvmErrorsNameFileAndLine) {
  expect_error(error_of("e1.libsvm", "1 1:2\n-1 1;2\n"), ":2:", "\"1;2\" is not index:value");
  expect_error(error_of("e2.libsvm", "1 1:2\n-1 0:2\n"), ":2:", "whole number from 1");
  expect_error(error_of("e3.libsvm", "1 2:2 1:3\n"), ":1:", "ascend");
  expect_error(error_of("e4.libsvm", "1 1:2 3:3\n"), ":1:", "above objective.dim = 2");
  expect_error(error_of("e5.libsvm", "1 1:2\n-1 2:two\n"), ":2:", "\"two\" is not a number");
  expect_error(error_of("e6.libsvm", "one 1:2\n"), ":1:", "the label \"one\" is not a number");
  expect_error(error_of("e7.txt", "1 qid:3 1:2\n"), ":1:", "\"qid\"");
  expect_error(error_of("e8.libsvm", "1 1:inf\n"), ":1:", "out of range");
}

TEST(DataFile, EmptyMissingAndSingleClassFilesAreRefused) {
  expect_error(error_of("e1.csv", ""), ":", "no data rows");
  expect_error(error_of("e2.csv", "a,b,y\n# nothing\n\n"), ":", "no data rows");
  expect_error(error_of("e3.csv", "1,2,1\n3,4,1\n"), ":", "every label is 1");
  expect_error(error_of("e4.csv", "1,2,1\n3,4,2\n3,4,3\n"), ":", "more than two values");
  expect_error(error_of("e5.csv", "0,0,1\n0,0,2\n", ObjectiveKind::least_squares), ":", "every feature is 0");
  auto config = simple(ObjectiveKind::logistic, {1.0});
  config.lam = 0.1;
  config.file = "/nonexistent/data.csv";
  EXPECT_THROW(Objective{config}, InputError);
}

TEST(DataFile, HeaderBlankLinesCommentsCarriageReturnsAndSignsAreRead) {
  const TempFile file("ok.csv", "\xEF\xBB\xBF# data\r\nx1, x2 ,y\r\n\r\n +1 ,2e-1,-3\r\n4,5,6 # last");
  const auto data = read_data_file(file.path(), 2);
  EXPECT_EQ(data.n_rows, 2);
  EXPECT_EQ(data.features, (std::vector<double>{1.0, 0.2, 4.0, 5.0}));
  EXPECT_EQ(data.labels, (std::vector<double>{-3.0, 6.0}));
  const TempFile sparse("ok.txt", "-1 2:3\n1\n1 1:4 2:5\n");
  EXPECT_EQ(read_data_file(sparse.path(), 2).features, (std::vector<double>{0.0, 3.0, 0.0, 0.0, 4.0, 5.0}));
}

TEST(DataObjective, SizesAreLimited) {
  auto config = data_objective(ObjectiveKind::least_squares, (1 << 24) + 1, 1);
  EXPECT_THROW(Objective{config}, InputError);
  config = data_objective(ObjectiveKind::least_squares, 1, 5000);
  EXPECT_THROW(Objective{config}, InputError);
  config = data_objective(ObjectiveKind::least_squares, 3, 2);
  config.rank = 3;
  EXPECT_THROW(Objective{config}, InputError);
  config = quadratic({1.0, 2.0});
  config.dim = 3;
  EXPECT_THROW(Objective{config}, InputError);
}

}  // namespace
}  // namespace pathbound
