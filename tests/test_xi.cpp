// SPDX-License-Identifier: Apache-2.0
// host/xi_table.hpp and kernels/xi.hpp: Xi and the density of every law against Boost.Math in long double, and what the
// paths rely on. That packs give the bits of scalars: test_math.cpp.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/math/special_functions/beta.hpp>
#include <boost/math/special_functions/erf.hpp>
#include <boost/math/special_functions/gamma.hpp>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <numbers>
#include <string>
#include <utility>
#include <vector>

#include "host/laws.hpp"
#include "host/stable.hpp"
#include "host/xi_table.hpp"
#include "kernels/xi.hpp"

namespace {

namespace pb = pathbound;
using Wide = long double;

/// For float about twice, for double about three times what was seen (5000 values of y a law, the laws below and 40
/// random nu).
template <class R>
struct Tolerance;
template <>
struct Tolerance<float> {
  static constexpr double xi = 0x1p-24;        ///< 2 ulp of Xi's next to 1/2: c_0 and the last sum round
  static constexpr double small_xi = 3e-7;     ///< relative, y <= 1
  static constexpr double density = 5e-7;      ///< relative, where y F' > 1e-7: 6 terms' interpolation, and rounding
  static constexpr double end = 0x1p-27;       ///< what the last piece leaves out, absolute in Xi and y F'
  static constexpr double step = 2 * 0x1p-25;  ///< between neighbours: c_0 and the sum before it round apart
};
template <>
struct Tolerance<double> {
  static constexpr double xi = 4e-16;
  static constexpr double small_xi = 3e-15;
  static constexpr double density = 4e-14;  ///< exp of up to -20 from a rounded square
  static constexpr double end = 0x1p-56;
  static constexpr double step = 3 * 0x1p-54;
};

using Law = pb::LawSpec;

template <class R>
std::vector<Law> laws() {
  std::vector<Law> all = {{pb::LawKind::gaussian}, {pb::LawKind::laplace}, {pb::LawKind::logistic}};
  if constexpr (sizeof(R) == 8) all.push_back({pb::LawKind::student_t, 0.06});
  for (const double nu : {0.3, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 30.0, 1e3, 1e6, 1e9})
    all.push_back({pb::LawKind::student_t, nu});
  // A narrow and a wide part, far apart too: between them the masses of octaves rise again.
  for (const auto& [eps, k] : {std::pair{0.1, 10.0}, {1e-6, 1e4}, {0.5, 0.01}, {1e-9, 1e9}})
    all.push_back({pb::LawKind::contaminated_gaussian, 0.0, 0.0, eps, k});
  if constexpr (sizeof(R) == 8) all.push_back({pb::LawKind::alpha_stable, 0.0, 0.06});
  // Next to 2 the tail shows far out only: it must not be taken for nothing.
  for (const double alpha : {0.3, 0.94, 0.97, 1.02, 1.5, 2.0 - 1e-6, 2.0 - 1e-11, 2.0})
    all.push_back({pb::LawKind::alpha_stable, 0.0, alpha});
  return all;
}

/// The laws' own tolerance, where the reference is in double too (host/stable.hpp, which tests/test_laws.cpp holds
/// against quadrature).
double slack(const Law& law) { return law.kind == pb::LawKind::alpha_stable ? 1.0 : 0.0; }

/// Xi(y), y > 0, from the side that does not cancel.
Wide reference_xi(const Law& law, Wide y) {
  const auto normal = [](Wide z) {
    const Wide r = z / std::numbers::sqrt2_v<Wide>;
    return z < 1 ? boost::math::erf(r) / 2 : (1 - boost::math::erfc(r)) / 2;
  };
  switch (law.kind) {
    case pb::LawKind::gaussian:
      return normal(y);
    case pb::LawKind::laplace:
      return -std::expm1(-y) / 2;
    case pb::LawKind::logistic:
      return std::tanh(y / 2) / 2;
    case pb::LawKind::contaminated_gaussian:
      return (1 - Wide(law.eps)) * normal(y) + Wide(law.eps) * normal(y / law.k);
    case pb::LawKind::alpha_stable:
      return pb::stable_law(law.alpha).xi(static_cast<double>(y));
    default:
      break;
  }
  // 2 Xi = I_x(1/2, nu/2), x = y^2/(nu + y^2).
  const Wide nu = law.nu, r = y / std::sqrt(nu), s = 1 / r;
  if (r <= 1) return boost::math::ibeta(Wide(0.5), nu / 2, r * r / (1 + r * r)) / 2;
  return (1 - boost::math::ibeta(nu / 2, Wide(0.5), s * s / (1 + s * s))) / 2;
}

Wide reference_density(const Law& law, Wide y) {
  constexpr Wide pi = std::numbers::pi_v<Wide>;
  const auto normal = [](Wide z) { return std::exp(-z * z / 2) / std::sqrt(2 * pi); };
  switch (law.kind) {
    case pb::LawKind::gaussian:
      return normal(y);
    case pb::LawKind::laplace:
      return std::exp(-y) / 2;
    case pb::LawKind::logistic:
      return std::exp(-y) / ((1 + std::exp(-y)) * (1 + std::exp(-y)));
    case pb::LawKind::contaminated_gaussian:
      return (1 - Wide(law.eps)) * normal(y) + Wide(law.eps) / Wide(law.k) * normal(y / law.k);
    case pb::LawKind::alpha_stable:
      return pb::stable_law(law.alpha).density(static_cast<double>(y));
    default:
      break;
  }
  const Wide nu = law.nu, at_zero = 1 / (std::sqrt(pi * nu) * boost::math::tgamma_delta_ratio(nu / 2, Wide(0.5)));
  return at_zero * std::exp(-(nu + 1) / 2 * std::log1p(y / nu * y));
}

/// Made once for all tests.
template <class R>
const pb::XiPieces<R>& pieces_of(const Law& law) {
  static std::map<std::string, pb::XiPieces<R>> made;
  const std::string name = fmt::format("{} {} {}", pb::law_words(law), law.alpha - 2.0, law.nu);
  return made.try_emplace(name, law).first->second;
}

/// Many decades, and closely where the laws bend.
template <class R>
std::vector<R> arguments() {
  std::vector<R> all;
  for (int i = 0; i < 3000; ++i) all.push_back(static_cast<R>(std::pow(10.0, -30.0 + 0.02 * (i + 0.3))));
  for (int i = 0; i < 2000; ++i) all.push_back(static_cast<R>(std::pow(10.0, -2.0 + 0.002 * (i + 0.7))));
  return all;
}

template <class R>
class Xi : public testing::Test {};
using Precisions = testing::Types<float, double>;
TYPED_TEST_SUITE(Xi, Precisions);

TYPED_TEST(Xi, AgreesWithBoost) {
  using R = TypeParam;
  for (const Law& law : laws<R>()) {
    const pb::XiPieces<R>& pieces = pieces_of<R>(law);
    double xi = 0.0, small_xi = 0.0, density = 0.0, small_density = 0.0;
    for (const R y : arguments<R>()) {
      const pb::XiValue<R> v = pb::xi_of<R>(pieces.table(), y);
      const Wide want = reference_xi(law, y), want_density = reference_density(law, y);
      const double error = static_cast<double>(std::abs(v.xi - want));
      xi = std::max(xi, error);
      if (y <= R(1)) small_xi = std::max(small_xi, error / static_cast<double>(want));
      const double density_error = static_cast<double>(std::abs(v.density - want_density));
      if (y * want_density > 1e-7L) {
        density = std::max(density, density_error / static_cast<double>(want_density));
      } else {
        small_density = std::max(small_density, density_error * static_cast<double>(y));
      }
    }
    EXPECT_LE(xi, Tolerance<R>::xi + 2e-15 * slack(law)) << pb::law_words(law);
    EXPECT_LE(small_xi, Tolerance<R>::small_xi + 3e-14 * slack(law)) << pb::law_words(law);
    // N(0, 2) is still there where the pieces double their width at 8.
    EXPECT_LE(density, Tolerance<R>::density * (1.0 + 3.0 * slack(law))) << pb::law_words(law);
    EXPECT_LE(small_density, 1.001 * Tolerance<R>::end) << pb::law_words(law);
  }
}

TYPED_TEST(Xi, PiecesMeet) {
  using R = TypeParam;
  for (const Law& law : laws<R>()) {
    const pb::XiPieces<R>& pieces = pieces_of<R>(law);
    const pb::XiTable<R>& table = pieces.table();
    R start = table.low;
    for (int i = 1; i + 1 < table.n_pieces; ++i) {
      const pb::XiValue<R> before = pb::xi_of<R>(table, std::nextafter(start, R(0))), here = pb::xi_of<R>(table, start);
      ASSERT_NEAR(before.xi, here.xi, Tolerance<R>::step) << pb::law_words(law) << ", y = " << start;
      if (start * here.density > R(1e-7)) {
        const Wide want = reference_density(law, std::nextafter(start, R(0))) / reference_density(law, start);
        ASSERT_NEAR(before.density / here.density / static_cast<double>(want), 1.0, 2 * Tolerance<R>::density)
            << pb::law_words(law) << ", y = " << start;
      }
      start += R(1) / table.pieces[i * pb::XiTable<R>::stride];
    }
    // Here the last one begins.
    const pb::XiValue<R> end = pb::xi_of<R>(table, start), before = pb::xi_of<R>(table, std::nextafter(start, R(0)));
    EXPECT_EQ(end.xi, R(0.5)) << pb::law_words(law);
    EXPECT_EQ(end.density, R(0)) << pb::law_words(law);
    EXPECT_NEAR(before.xi, 0.5, Tolerance<R>::end + Tolerance<R>::xi) << pb::law_words(law);
    EXPECT_NEAR(start * before.density, 0.0, 1.01 * Tolerance<R>::end) << pb::law_words(law);
  }
}

TYPED_TEST(Xi, RisesFromZeroToOneHalfWhileTheDensityFalls) {
  using R = TypeParam;
  for (const Law& law : laws<R>()) {
    const pb::XiPieces<R>& pieces = pieces_of<R>(law);
    R xi = R(0), density = pb::xi_of<R>(pieces.table(), R(0)).density;
    for (int i = 0; i < 20000; ++i) {
      const auto y = static_cast<R>(std::pow(10.0, -10.0 + 0.001 * i));
      const pb::XiValue<R> v = pb::xi_of<R>(pieces.table(), y);
      ASSERT_GE(v.xi, xi - Tolerance<R>::step) << pb::law_words(law) << ", y = " << y;
      ASSERT_LE(v.xi, R(0.5)) << pb::law_words(law) << ", y = " << y;
      ASSERT_LE(v.density, density * (1 + Tolerance<R>::density)) << pb::law_words(law) << ", y = " << y;
      ASSERT_GE(v.density, R(0)) << pb::law_words(law) << ", y = " << y;
      xi = v.xi;
      density = v.density;
    }
  }
}

TYPED_TEST(Xi, IsOddAndTheDensityEven) {
  using R = TypeParam;
  const pb::XiPieces<R> pieces({pb::LawKind::student_t, 1.5});
  for (const R y : arguments<R>()) {
    const pb::XiValue<R> a = pb::xi_of<R>(pieces.table(), y), b = pb::xi_of<R>(pieces.table(), -y);
    ASSERT_EQ(a.xi, -b.xi) << y;
    ASSERT_EQ(a.density, b.density) << y;
  }
}

TYPED_TEST(Xi, TakesEveryNumber) {
  using R = TypeParam;
  using Limits = std::numeric_limits<R>;
  for (const Law& law : laws<R>()) {
    const pb::XiPieces<R>& pieces = pieces_of<R>(law);
    const auto value = [&](R y) { return pb::xi_of<R>(pieces.table(), y); };
    EXPECT_EQ(pb::as_bits(value(R(0)).xi), pb::as_bits(R(0)));
    EXPECT_EQ(pb::as_bits(value(-R(0)).xi), pb::as_bits(-R(0)));
    EXPECT_EQ(value(R(0)).density, value(Limits::denorm_min()).density);
    EXPECT_LE(value(Limits::denorm_min()).xi, Limits::denorm_min() * (R(1) + std::ceil(value(R(0)).density)));
    EXPECT_EQ(value(Limits::max()).xi, R(0.5));
    EXPECT_EQ(value(Limits::lowest()).xi, R(-0.5));
    for (const R inf : {Limits::infinity(), -Limits::infinity()}) {
      EXPECT_EQ(value(inf).xi, std::copysign(R(0.5), inf));
      EXPECT_EQ(value(inf).density, R(0));
    }
    for (const R nan : {Limits::quiet_NaN(), -Limits::quiet_NaN()}) {
      EXPECT_TRUE(std::isnan(value(nan).xi));
      EXPECT_TRUE(std::isnan(value(nan).density));
    }
  }
}

// Smaller nu than experiments may have: a table ends with the numbers, and what lies beyond is extrapolated.
TYPED_TEST(Xi, EndsWithTheNumbers) {
  using R = TypeParam;
  const double nu = sizeof(R) == 4 ? 0.06 : 0.01;
  const pb::XiPieces<R> pieces({pb::LawKind::student_t, nu});
  const Law law{pb::LawKind::student_t, nu};
  const R y = R(1e30);
  EXPECT_NEAR(pb::xi_of<R>(pieces.table(), y).xi, static_cast<double>(reference_xi(law, y)), 20 * Tolerance<R>::xi);
  EXPECT_EQ(pb::xi_of<R>(pieces.table(), std::numeric_limits<R>::max()).xi, R(0.5));
}

/// FNV-1a over the bits of a table.
template <class R>
std::uint64_t digest(const pb::XiTable<R>& table) {
  std::uint64_t d = 0xcbf29ce484222325u;
  const auto add = [&d](R x) { d = (d ^ static_cast<std::uint64_t>(pb::as_bits(x))) * 0x100000001b3u; };
  for (int i = 0; i < table.n_pieces * pb::XiTable<R>::stride; ++i) add(table.pieces[i]);
  add(table.low);
  add(table.inverse_low);
  return d;
}

// The tables are part of the paths' bits.
TEST(XiTables, HaveTheBitsOnRecord) {
  const auto float_digest = [](pb::LawKind law, double nu) { return digest(pb::XiPieces<float>({law, nu}).table()); };
  const auto double_digest = [](pb::LawKind law, double nu) { return digest(pb::XiPieces<double>({law, nu}).table()); };
  const auto digests = [](const Law& law) {
    return std::pair{digest(pb::XiPieces<float>(law).table()), digest(pb::XiPieces<double>(law).table())};
  };
  using Digests = std::pair<std::uint64_t, std::uint64_t>;
  EXPECT_EQ(digests({pb::LawKind::laplace}), (Digests{7720097731087272870u, 14542183746670466988u}));
  EXPECT_EQ(digests({pb::LawKind::logistic}), (Digests{7346768305868837587u, 900293576468794493u}));
  EXPECT_EQ(digests({pb::LawKind::contaminated_gaussian, 0.0, 0.0, 0.1, 10.0}),
            (Digests{7404556133015464764u, 5647987338295911378u}));
  EXPECT_EQ(digests({pb::LawKind::alpha_stable, 0.0, 0.3}), (Digests{9569738618823738956u, 3249378464913285356u}));
  EXPECT_EQ(digests({pb::LawKind::alpha_stable, 0.0, 0.97}), (Digests{11188156241641935617u, 5401046208837856837u}));
  EXPECT_EQ(digests({pb::LawKind::alpha_stable, 0.0, 1.5}), (Digests{12624366916832580874u, 6761397093729833089u}));
  EXPECT_EQ(float_digest(pb::LawKind::gaussian, 0.0), 10854541476180228345u);
  EXPECT_EQ(float_digest(pb::LawKind::student_t, 0.3), 3323460761399816096u);
  EXPECT_EQ(float_digest(pb::LawKind::student_t, 5.0), 12595515053720814209u);
  EXPECT_EQ(double_digest(pb::LawKind::gaussian, 0.0), 17914120070557248583u);
  EXPECT_EQ(double_digest(pb::LawKind::student_t, 0.06), 8158953371384774230u);
  EXPECT_EQ(double_digest(pb::LawKind::student_t, 5.0), 14106208630499396888u);
  EXPECT_EQ(double_digest(pb::LawKind::student_t, 1e9), 15856163644827874028u);
}

TEST(XiTables, ACoordinateOfMultivariateTIsStudentT) {
  EXPECT_EQ(digest(pb::XiPieces<float>({pb::LawKind::multivariate_t, 3.0}).table()),
            digest(pb::XiPieces<float>({pb::LawKind::student_t, 3.0}).table()));
  EXPECT_EQ(digest(pb::XiPieces<double>({pb::LawKind::multivariate_t, 3.0}).table()),
            digest(pb::XiPieces<double>({pb::LawKind::student_t, 3.0}).table()));
}

TEST(XiTables, StayValidWhenMoved) {
  pb::XiPieces<double> from({pb::LawKind::gaussian, 0.0});
  const double before = pb::xi_of<double>(from.table(), 1.0).xi;
  const pb::XiPieces<double> to = std::move(from);
  EXPECT_EQ(pb::xi_of<double>(to.table(), 1.0).xi, before);
}

}  // namespace
