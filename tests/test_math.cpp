// SPDX-License-Identifier: Apache-2.0
// kernels/math.hpp, xi.hpp, norm.hpp and adaptive.hpp. This file is compiled once for each instruction set (generic,
// AVX2, AVX-512): every form of Real must give the bits of the scalar one, and the scalar one the bits on record, so
// all of them agree. Accuracy is measured against libm in a wider type. Always over a sample; with
// PATHBOUND_EXHAUSTIVE=1 over every float with a magnitude from 2^-32 to 2^32, every 32-bit angle of a quarter turn and
// 3 * 10^7 doubles a function (minutes on one core).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/adaptive.hpp"
#include "kernels/math.hpp"
#include "kernels/norm.hpp"
#include "kernels/xi.hpp"

#if defined(__AVX512F__)
#include "kernels/pack_avx512.hpp"
#elif defined(__AVX2__)
#include "kernels/pack_avx2.hpp"
#endif

namespace {

namespace pb = pathbound;

#if defined(__AVX512F__)
using WideFloat = pb::f32x16;
using WideDouble = pb::f64x8;
bool cpu_can_run_this() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#elif defined(__AVX2__)
using WideFloat = pb::f32x8;
using WideDouble = pb::f64x4;
bool cpu_can_run_this() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#else
using WideFloat = float;
using WideDouble = double;
bool cpu_can_run_this() { return true; }
#endif

template <class S>
struct WideOf;
template <>
struct WideOf<float> {
  using type = WideFloat;
};
template <>
struct WideOf<double> {
  using type = WideDouble;
};

class Math : public testing::Test {
 protected:
  void SetUp() override {
    if (!cpu_can_run_this()) GTEST_SKIP() << "this CPU lacks the instruction set";
  }
};

bool exhaustive() {
  static const bool yes = [] {
    const char* v = std::getenv("PATHBOUND_EXHAUSTIVE");
    return v != nullptr && std::strcmp(v, "1") == 0;
  }();
  return yes;
}

// The accuracy of one form is that of all, so only one compilation takes the fine sample.
#if defined(__AVX2__) && !defined(__AVX512F__)
constexpr std::uint32_t float_stride = 251;
constexpr int double_points = 300000;
#else
constexpr std::uint32_t float_stride = 251 * 61;
constexpr int double_points = 10000;
#endif

// ---- the functions, over any Real

#define PB_UNARY(name)        \
  struct name##_fn {          \
    template <class F>        \
    F operator()(F x) const { \
      return pb::name(x);     \
    }                         \
  };
PB_UNARY(log_normal)
PB_UNARY(log)
PB_UNARY(log1p)
PB_UNARY(exp)
PB_UNARY(expm1)
PB_UNARY(sinh)
PB_UNARY(cosh)
PB_UNARY(sin)
PB_UNARY(cos)
PB_UNARY(sin_pi)
PB_UNARY(cos_pi)
PB_UNARY(canonical_nan)
#undef PB_UNARY

struct sincos_sin_fn {
  template <class F>
  F operator()(F x) const {
    F s, c;
    pb::sincos(x, s, c);
    return s;
  }
};
struct sincos_cos_fn {
  template <class F>
  F operator()(F x) const {
    F s, c;
    pb::sincos(x, s, c);
    return c;
  }
};
// Functions of an angle take it as the bits of x; for double the 53 low ones.
template <class F>
pb::BitsOf<F> angle_of(F x) {
  if constexpr (sizeof(pb::ScalarOf<F>) == 4) {
    return pb::as_bits(x);
  } else {
    return pb::as_bits(x) & pb::BitsOf<F>((std::uint64_t(1) << 53) - 1);
  }
}
struct cos_turn_fn {
  template <class F>
  F operator()(F x) const {
    return pb::cos_turn<F>(angle_of(x));
  }
};
struct sin_turn_fn {
  template <class F>
  F operator()(F x) const {
    return pb::sin_turn<F>(angle_of(x));
  }
};
struct sincos_turn_sin_fn {
  template <class F>
  F operator()(F x) const {
    F s, c;
    pb::sincos_turn<F>(angle_of(x), s, c);
    return s;
  }
};
struct sincos_turn_cos_fn {
  template <class F>
  F operator()(F x) const {
    F s, c;
    pb::sincos_turn<F>(angle_of(x), s, c);
    return c;
  }
};
/// x to a fixed power.
struct pow_fn {
  double y;
  template <class F>
  F operator()(F x) const {
    return pb::pow_positive(x, pb::real<F>(y));
  }
};

template <class F, class S, class Fn>
__attribute__((noinline)) void evaluate(Fn fn, const S* in, S* out, std::size_t n) {
  constexpr std::size_t lanes = static_cast<std::size_t>(pb::RealTraits<F>::lanes);
  for (std::size_t i = 0; i + lanes <= n; i += lanes) pb::store(out + i, fn(pb::load<F>(in + i)));
}

// ---- inputs

struct Random {
  std::uint64_t state;
  std::uint64_t next() {  // splitmix64
    std::uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  double uniform(double lo, double hi) { return lo + (hi - lo) * (static_cast<double>(next() >> 11) * 0x1p-53); }
};

template <class S>
S from_pattern(std::uint64_t u) {
  return pb::from_bits<S>(static_cast<pb::BitsOf<S>>(u));
}

/// Special values and the surroundings of every place where a function changes its ways.
template <class S>
std::vector<S> edge_inputs() {
  using L = std::numeric_limits<S>;
  std::vector<S> at = {
      S(0),        L::infinity(), L::quiet_NaN(), L::denorm_min(), L::min(),    L::max(),  S(1),      S(0.5),
      S(2),        S(0.25),       S(0.75),        S(1.5),          S(3),        S(0.125),  S(1e-10),  S(1e-5),
      S(0x1p-60),  S(0x1p-30),    S(1) / S(3),    S(2) / S(3),     S(4) / S(3), S(20),     S(40),     S(17.5),
      S(88.72284), S(89),         S(89.416),      S(89.6),         S(87.34),    S(103.97), S(105),    S(709.7827),
      S(710),      S(710.47586),  S(710.6),       S(708.4),        S(745.133),  S(746),    S(0x1p13), S(0x1p20),
      S(0x1p21),   S(0x1p22),     S(0x1p23),      S(0x1p24),       S(0x1p25),   S(0x1p49), S(0x1p51), S(0x1p52),
      S(0x1p53),   S(0x1p54)};
  for (int k = 1; k <= 16; ++k) {
    at.push_back(static_cast<S>(k * 0.785398163397448309616));
    at.push_back(static_cast<S>(k * 0.346573590279972654709));
    at.push_back(static_cast<S>(std::ldexp(1.4142135623730951, k - 9)));
  }
  std::vector<S> out;
  for (const S a : at) {
    for (int d = -3; d <= 3; ++d) {
      const S v = from_pattern<S>(static_cast<std::uint64_t>(pb::as_bits(a)) + static_cast<std::uint64_t>(d));
      out.push_back(v);
      out.push_back(-v);
    }
  }
  return out;
}

template <class S>
std::vector<S> mixed_inputs() {
  std::vector<S> out = edge_inputs<S>();
  Random r{1};
  for (int i = 0; i < (1 << 17); ++i) {
    out.push_back(from_pattern<S>(r.next()));
    const double significand = r.uniform(1.0, 2.0);
    const double magnitude = std::ldexp(significand, static_cast<int>(r.next() % 42) - 30);
    out.push_back(static_cast<S>((r.next() & 1) != 0 ? magnitude : -magnitude));
  }
  out.resize(out.size() / 16 * 16);
  return out;
}

// ---- every form gives the same bits

template <class S>
std::uint64_t canonical_bits(S x) {
  return static_cast<std::uint64_t>(pb::as_bits(pb::canonical_nan(x)));
}

/// Checks the wide form against the scalar one; returns a digest of the results.
template <class S, class Fn>
std::uint64_t check_bits(const char* name, Fn fn, bool any_argument = true) {
  std::vector<S> in = mixed_inputs<S>();
  if (!any_argument)
    for (S& x : in) x = std::isnormal(x) ? std::abs(x) : S(1);
  std::vector<S> wide(in.size()), scalar(in.size());
  evaluate<typename WideOf<S>::type>(fn, in.data(), wide.data(), in.size());
  evaluate<S>(fn, in.data(), scalar.data(), in.size());
  std::uint64_t digest = 0xcbf29ce484222325u;
  int shown = 0;
  for (std::size_t i = 0; i < in.size(); ++i) {
    const std::uint64_t w = canonical_bits(wide[i]), s = canonical_bits(scalar[i]);
    if (w != s && ++shown <= 5)
      ADD_FAILURE() << name << "(" << std::hexfloat << in[i] << "): " << wide[i] << " in a pack, " << scalar[i]
                    << " alone";
    digest = (digest ^ s) * 0x100000001b3u;
  }
  return digest;
}

template <class S>
std::uint64_t check_all_bits() {
  std::uint64_t d = 0;
  const auto add = [&d](std::uint64_t x) { d = (d ^ x) * 0x100000001b3u; };
  add(check_bits<S>("log_normal", log_normal_fn(), false));
  add(check_bits<S>("log", log_fn()));
  add(check_bits<S>("log1p", log1p_fn()));
  add(check_bits<S>("exp", exp_fn()));
  add(check_bits<S>("expm1", expm1_fn()));
  add(check_bits<S>("sinh", sinh_fn()));
  add(check_bits<S>("cosh", cosh_fn()));
  add(check_bits<S>("sin", sin_fn()));
  add(check_bits<S>("cos", cos_fn()));
  add(check_bits<S>("sincos: sin", sincos_sin_fn()));
  add(check_bits<S>("sincos: cos", sincos_cos_fn()));
  add(check_bits<S>("sin_pi", sin_pi_fn()));
  add(check_bits<S>("cos_pi", cos_pi_fn()));
  add(check_bits<S>("cos_turn", cos_turn_fn()));
  add(check_bits<S>("sin_turn", sin_turn_fn()));
  add(check_bits<S>("sincos_turn: sin", sincos_turn_sin_fn()));
  add(check_bits<S>("sincos_turn: cos", sincos_turn_cos_fn()));
  add(check_bits<S>("canonical_nan", canonical_nan_fn()));
  for (const double y : {0.5, -0.5, 2.0, -3.7, 17.25, 0.0, -1e6}) add(check_bits<S>("pow_positive", pow_fn{y}));
  return d;
}

TEST_F(Math, FloatPacksGiveTheBitsOnRecord) { EXPECT_EQ(check_all_bits<float>(), 17709514683954474128u); }
TEST_F(Math, DoublePacksGiveTheBitsOnRecord) { EXPECT_EQ(check_all_bits<double>(), 12178515881683430434u); }

/// xi_of by a table of random numbers, of no law: what counts is where it looks.
template <class S>
struct xi_fn {
  pb::XiTable<S> table;
  bool density;
  template <class F>
  F operator()(F y) const {
    const pb::XiValue<F> v = pb::xi_of<F>(table, y);
    return density ? v.density : v.xi;
  }
};

template <class S>
std::uint64_t check_xi_bits() {
  std::uint64_t d = 0;
  for (const int exponent : {-3, -20}) {
    for (const int n_pieces : {2, 3, 199, 1000}) {
      using Table = pb::XiTable<S>;
      Random r{static_cast<std::uint64_t>(n_pieces)};
      std::vector<S> pieces(static_cast<std::size_t>(n_pieces * Table::stride));
      for (S& c : pieces) c = static_cast<S>(r.uniform(-1.0, 1.0));
      const Table table{pieces.data(), n_pieces, static_cast<S>(std::ldexp(1.0, exponent)),
                        static_cast<S>(std::ldexp(1.0, -exponent))};
      for (const bool density : {false, true})
        d = (d ^ check_bits<S>(density ? "density" : "xi", xi_fn<S>{table, density})) * 0x100000001b3u;
    }
  }
  return d;
}

TEST_F(Math, PacksFindTheirWayInAnXiTable) {
  EXPECT_EQ(check_xi_bits<float>(), 13369841509809244573u);
  EXPECT_EQ(check_xi_bits<double>(), 14980572456163314720u);
}

/// The norm of a vector along x.
template <class S>
struct norm_fn {
  std::vector<S> along;
  bool scale;
  template <class F>
  F operator()(F x) const {
    const pb::ScaledNorm<F> norm = pb::scaled_norm<F>(static_cast<int>(along.size()),
                                                      [&](int j) { return F(along[static_cast<std::size_t>(j)]) * x; });
    return scale ? norm.scale : norm.norm();
  }
};

template <class S>
pb::AdaptiveSpec<S> adaptive_spec(pb::AdaptiveKind kind) {
  pb::AdaptiveSpec<S> spec;
  spec.kind = kind;
  spec.inverse_c = S(0.7);
  spec.minus_q = S(-1.5);
  spec.share = S(0.9);
  spec.L0 = S(2.25);
  spec.L1 = S(0.4);
  return spec;
}
template <class S>
struct adaptive_fn {
  pb::AdaptiveSpec<S> spec;
  bool slope;
  template <class F>
  F operator()(F r) const {
    if (spec.kind == pb::AdaptiveKind::hessian_norm) return pb::adaptive_factor_of_hessian(spec, r);
    const F a = pb::adaptive_factor(spec, r);
    return slope ? pb::adaptive_factor_slope(spec, r, a) : a;
  }
};

template <class S>
std::uint64_t check_factor_bits() {
  std::uint64_t d = 0;
  const auto add = [&d](std::uint64_t x) { d = (d ^ x) * 0x100000001b3u; };
  for (const bool scale : {false, true}) {
    add(check_bits<S>("norm", norm_fn<S>{{S(1)}, scale}));
    add(check_bits<S>("norm",
                      norm_fn<S>{{S(0.3), S(-1.2), S(0), S(1e-9), S(0.9), S(-0.1), S(0.4), S(1), S(7)}, scale}));
  }
  for (const auto kind : {pb::AdaptiveKind::gradient_norm, pb::AdaptiveKind::l0l1, pb::AdaptiveKind::hessian_norm})
    for (const bool slope : {false, true})
      add(check_bits<S>("adaptive factor", adaptive_fn<S>{adaptive_spec<S>(kind), slope}));
  return d;
}

TEST_F(Math, PacksTakeNormsAndAdaptiveFactorsAsScalarsDo) {
  EXPECT_EQ(check_factor_bits<float>(), 7068234057107409312u);
  EXPECT_EQ(check_factor_bits<double>(), 7851203110043840042u);
}

// ---- accuracy

/// The distance between neighbouring numbers of type S at `reference`.
template <class S>
double ulp_at(double reference) {
  const double binade = from_pattern<double>(pb::as_bits(reference) & 0x7ff0000000000000u);
  return std::max(binade, static_cast<double>(std::numeric_limits<S>::min())) *
         static_cast<double>(std::numeric_limits<S>::epsilon());
}

struct Error {
  double ulps = 0.0;
  double absolute = 0.0;
  double at = 0.0;
};

/// An infinite result stands for the first number that does not exist any more, the end of the range.
template <class S, class Wide>
void take(Error& e, S x, S got, Wide reference) {
  using L = std::numeric_limits<S>;
  const Wide end = static_cast<Wide>(L::max()) * (Wide(1) + static_cast<Wide>(L::epsilon()) / 2);
  Wide g = static_cast<Wide>(got);
  if (std::isinf(got)) g = got > 0 ? end : -end;
  reference = std::clamp(reference, -end, end);
  const double distance = static_cast<double>(g > reference ? g - reference : reference - g);
  // Not <=, so that a NaN counts.
  const double ulps = distance / ulp_at<S>(static_cast<double>(std::clamp(reference, static_cast<Wide>(L::lowest()),
                                                                          static_cast<Wide>(L::max()))));
  if (!(ulps <= e.ulps)) {
    e.ulps = std::isnan(ulps) ? HUGE_VAL : ulps;
    e.at = static_cast<double>(x);
  }
  e.absolute = std::max(e.absolute, distance);
}

template <class S, class Fn, class Reference>
void take_all(Error& e, Fn fn, Reference reference, std::vector<S>& in) {
  using Wide = decltype(reference(S(0)));
  static std::vector<S> out;
  while (in.size() % 16 != 0) in.push_back(in.back());
  out.resize(in.size());
  evaluate<typename WideOf<S>::type>(fn, in.data(), out.data(), in.size());
  for (std::size_t i = 0; i < in.size(); ++i) take<S, Wide>(e, in[i], out[i], reference(in[i]));
}

/// Over every float_stride-th float for which `domain` holds; exhaustive: also over every pattern from `first` to
/// `last`, and these with the sign bit set.
template <class Fn, class Domain, class Reference>
Error float_error(Fn fn, Domain domain, Reference reference, std::uint32_t first = 0x2f800000u,
                  std::uint32_t last = 0x4fffffffu, bool both_signs = true) {
  Error e;
  std::vector<float> in;
  const auto sweep = [&](std::uint64_t from, std::uint64_t to, std::uint64_t stride) {
    for (std::uint64_t u = from; u <= to;) {
      in.clear();
      for (; u <= to && in.size() < 4096; u += stride) {
        const float x = from_pattern<float>(u);
        if (domain(x)) in.push_back(x);
      }
      if (!in.empty()) take_all(e, fn, reference, in);
    }
  };
  sweep(0, 0xffffffffu, float_stride);
  if (exhaustive()) {
    sweep(first, last, 1);
    if (both_signs) sweep(first | 0x80000000u, last | 0x80000000u, 1);
  }
  return e;
}

/// Over random doubles from `draw`, and the edge inputs, where `domain` holds.
template <class Fn, class Draw, class Domain, class Reference>
Error double_error(Fn fn, Draw draw, Domain domain, Reference reference) {
  Error e;
  std::vector<double> in;
  for (const double x : edge_inputs<double>())
    if (domain(x)) in.push_back(x);
  Random r{2};
  const int n = exhaustive() ? 30000000 : double_points;
  for (int i = 0; i < n; ++i) {
    const double x = draw(r);
    if (domain(x)) in.push_back(x);
    if (in.size() >= 4096 || (i + 1 == n && !in.empty())) {
      take_all(e, fn, reference, in);
      in.clear();
    }
  }
  return e;
}

void expect_within(const char* what, const Error& e, double ulps, double absolute = HUGE_VAL) {
  std::printf("  %-24s max error %.4f ulp (at %a), %.3g absolute\n", what, e.ulps, e.at, e.absolute);
  EXPECT_LE(e.ulps, ulps) << what;
  EXPECT_LE(e.absolute, absolute) << what;
}

template <class S>
bool finite(S x) {
  return std::isfinite(x);
}
template <class S>
bool normal_and_positive(S x) {
  return std::isnormal(x) && x > 0;
}

/// Doubles with exponents between lo and hi, both signs.
auto spread(double lo, double hi) {
  return [=](Random& r) {
    const double m = std::exp2(r.uniform(lo, hi));
    return (r.next() & 1) != 0 ? m : -m;
  };
}
auto any_pattern() {
  return [](Random& r) { return from_pattern<double>(r.next()); };
}
auto between(double lo, double hi) {
  return [=](Random& r) { return r.uniform(lo, hi); };
}
/// Each of several ways to draw in turn.
template <class... Draw>
auto mix(Draw... draw) {
  return [=](Random& r) {
    const std::uint64_t pick = r.next() % sizeof...(Draw);
    std::uint64_t k = 0;
    double x = 0.0;
    ((k++ == pick ? void(x = draw(r)) : void()), ...);
    return x;
  };
}

TEST_F(Math, LogNormalKeepsItsStatedAccuracy) {
  expect_within("log_normal float",
                float_error(log_normal_fn(), normal_and_positive<float>, [](float x) { return std::log(double(x)); }),
                0.95);
  expect_within("log_normal double",
                double_error(log_normal_fn(), mix(spread(-1.5, 1.5), between(0.5, 1.5), any_pattern()),
                             normal_and_positive<double>, [](double x) { return std::log((long double)(x)); }),
                0.86);
}

TEST_F(Math, LogKeepsItsStatedAccuracy) {
  const auto domain = [](auto x) { return x > 0 && std::isfinite(x); };
  expect_within("log float", float_error(log_fn(), domain, [](float x) { return std::log(double(x)); }), 0.95);
  expect_within("log double",
                double_error(log_fn(), mix(spread(-1.5, 1.5), spread(-1074, -1020), any_pattern()), domain,
                             [](double x) { return std::log((long double)(x)); }),
                0.86);
}

TEST_F(Math, Log1pKeepsItsStatedAccuracy) {
  const auto domain = [](auto x) { return x > -1 && std::isfinite(x); };
  expect_within("log1p float", float_error(log1p_fn(), domain, [](float x) { return std::log1p(double(x)); }), 1.55);
  expect_within("log1p double",
                double_error(log1p_fn(), mix(spread(-5, 3), between(-1, 1), spread(-60, 60), any_pattern()), domain,
                             [](double x) { return std::log1p((long double)(x)); }),
                1.38);
}

TEST_F(Math, ExpKeepsItsStatedAccuracy) {
  expect_within("exp float", float_error(exp_fn(), finite<float>, [](float x) { return std::exp(double(x)); }), 0.92);
  expect_within("exp double",
                double_error(exp_fn(), mix(between(-746, 710), between(-2, 2), spread(-60, 9.5), any_pattern()),
                             finite<double>, [](double x) { return std::exp((long double)(x)); }),
                1.0);
}

TEST_F(Math, Expm1KeepsItsStatedAccuracy) {
  expect_within("expm1 float", float_error(expm1_fn(), finite<float>, [](float x) { return std::expm1(double(x)); }),
                1.28);
  expect_within("expm1 double",
                double_error(expm1_fn(), mix(between(-45, 710), between(-1.5, 1.5), spread(-62, 2), any_pattern()),
                             finite<double>, [](double x) { return std::expm1((long double)(x)); }),
                1.65);
}

TEST_F(Math, SinhKeepsItsStatedAccuracy) {
  expect_within("sinh float", float_error(sinh_fn(), finite<float>, [](float x) { return std::sinh(double(x)); }),
                1.55);
  expect_within("sinh double",
                double_error(sinh_fn(), mix(between(-711, 711), between(-2, 2), spread(-62, 2), any_pattern()),
                             finite<double>, [](double x) { return std::sinh((long double)(x)); }),
                1.88);
}

TEST_F(Math, CoshKeepsItsStatedAccuracy) {
  expect_within("cosh float", float_error(cosh_fn(), finite<float>, [](float x) { return std::cosh(double(x)); }),
                1.67);
  expect_within("cosh double",
                double_error(cosh_fn(), mix(between(-711, 711), between(-2, 2), any_pattern()), finite<double>,
                             [](double x) { return std::cosh((long double)(x)); }),
                1.61);
}

TEST_F(Math, SinAndCosOfRadiansKeepTheirStatedAccuracy) {
  const auto float_sin = [](float x) { return std::sin(double(x)); };
  const auto float_cos = [](float x) { return std::cos(double(x)); };
  const auto small_float = [](float x) { return std::abs(x) <= 0x1p13f; };
  const auto large_float = [](float x) { return std::abs(x) > 0x1p13f && std::abs(x) <= 0x1p21f; };
  expect_within("sin float", float_error(sin_fn(), small_float, float_sin), 1.53);
  expect_within("cos float", float_error(cos_fn(), small_float, float_cos), 1.53);
  expect_within("sin float to 2^21", float_error(sin_fn(), large_float, float_sin), HUGE_VAL, 1.1e-7);
  expect_within("cos float to 2^21", float_error(cos_fn(), large_float, float_cos), HUGE_VAL, 1.1e-7);
  const auto double_sin = [](double x) { return std::sin((long double)(x)); };
  const auto double_cos = [](double x) { return std::cos((long double)(x)); };
  const auto small_double = [](double x) { return std::abs(x) <= 0x1p20; };
  const auto large_double = [](double x) { return std::abs(x) > 0x1p20 && std::abs(x) <= 0x1p49; };
  // Doubles next to multiples of pi/2, where the cancellation is worst.
  const auto near_zeros = [](Random& r) {
    const double n = std::floor(std::exp2(r.uniform(0, 19)));
    return n * 1.57079632679489661923 * (1.0 + r.uniform(-4, 4) * 0x1p-53);
  };
  const auto draw = mix(spread(-30, 20), between(-10, 10), near_zeros);
  expect_within("sin double", double_error(sin_fn(), draw, small_double, double_sin), 1.52);
  expect_within("cos double", double_error(cos_fn(), draw, small_double, double_cos), 1.52);
  expect_within("sin double to 2^49", double_error(sin_fn(), spread(20, 49), large_double, double_sin), HUGE_VAL,
                1.6e-16);
  expect_within("cos double to 2^49", double_error(cos_fn(), spread(20, 49), large_double, double_cos), HUGE_VAL,
                1.6e-16);
}

/// sin(2 pi v) for |v| <= 1/2, with the argument of libm's function small where the result is.
template <class Wide>
Wide sin_of_turn(Wide v) {
  const Wide two_pi = static_cast<Wide>(6.283185307179586476925286766559005768L), a = std::abs(v);
  const Wide s = a <= Wide(0.125)   ? std::sin(two_pi * a)
                 : a <= Wide(0.375) ? std::cos(two_pi * (Wide(0.25) - a))
                                    : std::sin(two_pi * (Wide(0.5) - a));
  return v < 0 ? -s : s;
}
template <class Wide>
Wide cos_of_turn(Wide v) {
  const Wide a = std::abs(v);
  return sin_of_turn(Wide(0.25) - a);
}

TEST_F(Math, SinPiAndCosPiKeepTheirStatedAccuracy) {
  // The remainder by 2 is exact, and in the wider type so is halving it.
  const auto turn = [](auto wide) { return std::remainder(wide, decltype(wide)(2)) / 2; };
  expect_within("sin_pi float",
                float_error(sin_pi_fn(), finite<float>, [=](float x) { return sin_of_turn(turn(double(x))); }), 1.61);
  expect_within("cos_pi float",
                float_error(cos_pi_fn(), finite<float>, [=](float x) { return cos_of_turn(turn(double(x))); }), 1.58);
  const auto draw = mix(spread(-60, 54), between(-4, 4), any_pattern());
  expect_within(
      "sin_pi double",
      double_error(sin_pi_fn(), draw, finite<double>, [=](double x) { return sin_of_turn(turn((long double)(x))); }),
      1.5);
  expect_within(
      "cos_pi double",
      double_error(cos_pi_fn(), draw, finite<double>, [=](double x) { return cos_of_turn(turn((long double)(x))); }),
      1.5);
}

/// An angle's turns in [-1/2, 1/2), exactly.
double turns_of(float x) { return static_cast<double>(static_cast<std::int32_t>(pb::as_bits(x))) * 0x1p-32; }
long double turns_of(double x) {
  const std::int64_t z = static_cast<std::int64_t>(pb::as_bits(x) << 11);
  return static_cast<long double>(z) * 0x1p-64L;
}

TEST_F(Math, TurnsKeepTheirStatedAccuracy) {
  const auto all = [](auto) { return true; };
  const auto sine = [](auto x) { return sin_of_turn(turns_of(x)); };
  const auto cosine = [](auto x) { return cos_of_turn(turns_of(x)); };
  expect_within("cos_turn float", float_error(cos_turn_fn(), all, cosine, 0, 0x3fffffffu, false), 2.73, 1.7e-7);
  expect_within("sin_turn float", float_error(sin_turn_fn(), all, sine, 0, 0x3fffffffu, false), 2.73, 1.7e-7);
  expect_within("sincos_turn float: sin", float_error(sincos_turn_sin_fn(), all, sine, 0, 0x3fffffffu, false), 2.38,
                9.8e-8);
  expect_within("sincos_turn float: cos", float_error(sincos_turn_cos_fn(), all, cosine, 0, 0x3fffffffu, false), 2.38,
                9.8e-8);
  // Angles everywhere, and close to the multiples of an eighth of a turn.
  const auto draw = mix(any_pattern(), [](Random& r) {
    const double offset = std::exp2(r.uniform(0, 50));
    const std::uint64_t k = (r.next() & 15) << 50, o = static_cast<std::uint64_t>(offset);
    return from_pattern<double>((r.next() & 1) != 0 ? k + o : k - o);
  });
  expect_within("cos_turn double", double_error(cos_turn_fn(), draw, all, cosine), 2.65, 3.0e-16);
  expect_within("sin_turn double", double_error(sin_turn_fn(), draw, all, sine), 2.65, 3.0e-16);
  expect_within("sincos_turn double: sin", double_error(sincos_turn_sin_fn(), draw, all, sine), 1.5, 1.5e-16);
  expect_within("sincos_turn double: cos", double_error(sincos_turn_cos_fn(), draw, all, cosine), 1.5, 1.5e-16);
}

TEST_F(Math, SincosTurnAndCosPiNeverExceedOne) {
  // Where the result is within rounding of 1 it would exceed it most easily.
  Random r{3};
  double most = 0.0;
  for (int i = 0; i < 1000000; ++i) {
    const auto z = static_cast<std::uint64_t>(std::exp2(r.uniform(0, 45)));
    double s, c;
    pb::sincos_turn<double>(z, s, c);
    most = std::max({most, c, pb::cos_pi(static_cast<double>(z) * 0x1p-53)});
    float s_float, c_float;
    pb::sincos_turn<float>(static_cast<std::uint32_t>(z >> 20), s_float, c_float);
    most = std::max({most, double(c_float), double(pb::cos_pi(static_cast<float>(z) * 0x1p-53f))});
  }
  EXPECT_EQ(most, 1.0);
}

TEST_F(Math, PowersKeepTheirStatedAccuracy) {
  Error f, f40, d, d40;
  Random r{4};
  const int n = exhaustive() ? 20000 : 200;
  std::vector<float> in_f(256);
  std::vector<double> in_d(256);
  for (int i = 0; i < n; ++i) {
    for (const bool near_one : {false, true}) {
      // Arguments 2^(+-w), powers up to 40 / ln of that, or to the end of the range.
      const double w = near_one ? 0.05 : std::exp2(r.uniform(-3, 6.9));
      for (const double reach : {40.0, 87.0}) {
        const float y = static_cast<float>(r.uniform(-1, 1) * reach / (w * 0.6931472));
        for (float& x : in_f) x = static_cast<float>(std::exp2(r.uniform(-w, w)));
        take_all(
            reach == 40.0 ? f40 : f, pow_fn{static_cast<double>(y)},
            [y](float x) { return std::pow(double(x), double(y)); }, in_f);
      }
      for (const double reach : {40.0, 708.0}) {
        const double wd = near_one ? w : w * 7.5;
        const double y = r.uniform(-1, 1) * reach / (wd * 0.6931472);
        for (double& x : in_d) x = std::exp2(r.uniform(-wd, wd));
        take_all(
            reach == 40.0 ? d40 : d, pow_fn{y}, [y](double x) { return std::pow((long double)(x), (long double)(y)); },
            in_d);
      }
    }
  }
  expect_within("pow float to e^40", f40, 7.8);
  expect_within("pow float", f, 15);
  expect_within("pow double to e^40", d40, 3.5);
  expect_within("pow double", d, 55);
}

// ---- special values

template <class S>
void expect_same(const char* what, S got, S want) {
  EXPECT_EQ(canonical_bits(got), canonical_bits(want)) << what << ": " << got << " for " << want;
}

template <class S>
void check_special_values() {
  using L = std::numeric_limits<S>;
  const S inf = L::infinity(), nan = L::quiet_NaN(), zero = S(0), one = S(1), tiny = L::denorm_min();
  const S end = L::max();
#define SAME(expression, want) expect_same<S>(#expression, expression, want)
  SAME(pb::log_normal(one), zero);
  SAME(pb::log(zero), -inf);
  SAME(pb::log(-zero), -inf);
  SAME(pb::log(-one), nan);
  SAME(pb::log(-tiny), nan);
  SAME(pb::log(-inf), nan);
  SAME(pb::log(inf), inf);
  SAME(pb::log(nan), nan);
  SAME(pb::log(one), zero);
  SAME(pb::log1p(zero), zero);
  SAME(pb::log1p(-zero), -zero);
  SAME(pb::log1p(tiny), tiny);
  SAME(pb::log1p(-tiny), -tiny);
  SAME(pb::log1p(-one), -inf);
  SAME(pb::log1p(S(-1.5)), nan);
  SAME(pb::log1p(-inf), nan);
  SAME(pb::log1p(inf), inf);
  SAME(pb::log1p(nan), nan);
  SAME(pb::exp(zero), one);
  SAME(pb::exp(-zero), one);
  SAME(pb::exp(inf), inf);
  SAME(pb::exp(-inf), zero);
  SAME(pb::exp(end), inf);
  SAME(pb::exp(-end), zero);
  SAME(pb::exp(nan), nan);
  SAME(pb::expm1(zero), zero);
  SAME(pb::expm1(-zero), -zero);
  SAME(pb::expm1(tiny), tiny);
  SAME(pb::expm1(-tiny), -tiny);
  SAME(pb::expm1(inf), inf);
  SAME(pb::expm1(-inf), -one);
  SAME(pb::expm1(end), inf);
  SAME(pb::expm1(-end), -one);
  SAME(pb::expm1(nan), nan);
  SAME(pb::sinh(zero), zero);
  SAME(pb::sinh(-zero), -zero);
  SAME(pb::sinh(-tiny), -tiny);
  SAME(pb::sinh(inf), inf);
  SAME(pb::sinh(-inf), -inf);
  SAME(pb::sinh(end), inf);
  SAME(pb::sinh(-end), -inf);
  SAME(pb::sinh(nan), nan);
  SAME(pb::cosh(zero), one);
  SAME(pb::cosh(-zero), one);
  SAME(pb::cosh(inf), inf);
  SAME(pb::cosh(-inf), inf);
  SAME(pb::cosh(-end), inf);
  SAME(pb::cosh(nan), nan);
  SAME(pb::sin(zero), zero);
  SAME(pb::sin(-zero), -zero);
  SAME(pb::sin(tiny), tiny);
  SAME(pb::sin(inf), nan);
  SAME(pb::sin(-inf), nan);
  SAME(pb::sin(nan), nan);
  SAME(pb::sin(end), zero);
  SAME(pb::cos(zero), one);
  SAME(pb::cos(tiny), one);
  SAME(pb::cos(inf), nan);
  SAME(pb::cos(nan), nan);
  SAME(pb::cos(end), one);
  for (const S k : {S(0), S(1), S(2), S(3), S(4), S(12345), S(8388607), S(0x1p24), S(0x1p60)}) {
    SAME(pb::sin_pi(k), zero);
    SAME(pb::sin_pi(-k), -zero);
    SAME(pb::cos_pi(k), std::fmod(k, S(2)) == zero ? one : -one);
    SAME(pb::cos_pi(-k), std::fmod(k, S(2)) == zero ? one : -one);
  }
  for (const S k : {S(0), S(1), S(2), S(3), S(1234567)}) {
    SAME(pb::cos_pi(k + S(0.5)), zero);
    SAME(pb::cos_pi(-k - S(0.5)), zero);
    SAME(pb::sin_pi(k + S(0.5)), std::fmod(k, S(2)) == zero ? one : -one);
    SAME(pb::sin_pi(-k - S(0.5)), std::fmod(k, S(2)) == zero ? -one : one);
  }
  SAME(pb::sin_pi(inf), nan);
  SAME(pb::sin_pi(nan), nan);
  SAME(pb::cos_pi(-inf), nan);
  SAME(pb::cos_pi(nan), nan);
  for (const S x : {tiny, L::min(), S(0.3), one, S(7), end}) SAME(pb::pow_positive(x, zero), one);
  for (const S y : {-end, S(-2.5), -zero, tiny, S(3), end}) SAME(pb::pow_positive(one, y), one);
  SAME(pb::pow_positive(S(2), S(10)), S(1024));
  SAME(pb::pow_positive(S(4), S(-0.5)), S(0.5));
  SAME(pb::pow_positive(end, S(2)), inf);
  SAME(pb::pow_positive(end, end), inf);
  SAME(pb::pow_positive(end, S(-2)), zero);
  SAME(pb::pow_positive(tiny, S(2)), zero);
  SAME(pb::pow_positive(tiny, S(-2)), inf);
  SAME(pb::pow_positive(tiny, -end), inf);
  for (const S x : {zero, -one, inf, -inf, nan}) SAME(pb::pow_positive(x, S(2)), nan);
  SAME(pb::pow_positive(S(2), nan), nan);
#undef SAME
}

TEST_F(Math, SpecialValuesGiveTheirLimits) {
  check_special_values<float>();
  check_special_values<double>();
}

template <class S>
void check_quarters(int bits) {
  for (int k = 0; k < 4; ++k) {
    const auto angle = static_cast<pb::BitsOf<S>>(static_cast<std::uint64_t>(k) << (bits - 2));
    const S want_s[] = {0, 1, 0, -1}, want_c[] = {1, 0, -1, 0};
    S s, c;
    pb::sincos_turn<S>(angle, s, c);
    EXPECT_EQ(s, want_s[k]);
    EXPECT_EQ(c, want_c[k]);
    EXPECT_EQ(pb::sin_turn<S>(angle), want_s[k]);
    EXPECT_EQ(pb::cos_turn<S>(angle), want_c[k]);
  }
}

TEST_F(Math, QuartersOfATurnAreExact) {
  check_quarters<float>(32);
  check_quarters<double>(53);
}

TEST_F(Math, HyperbolicFunctionsOverflowOnlyWhereTheResultDoes) {
  // asinh and acosh of the largest number, rounded down.
  EXPECT_TRUE(std::isfinite(pb::sinh(89.41598f)));
  EXPECT_TRUE(std::isfinite(pb::cosh(-89.41598f)));
  EXPECT_TRUE(std::isinf(pb::sinh(89.416f)));
  EXPECT_TRUE(std::isinf(pb::cosh(89.416f)));
  EXPECT_TRUE(std::isfinite(pb::sinh(-710.47586007394386)));
  EXPECT_TRUE(std::isfinite(pb::cosh(710.47586007394386)));
  EXPECT_TRUE(std::isinf(pb::sinh(710.4758600739440)));
  EXPECT_TRUE(std::isinf(pb::cosh(710.4758600739440)));
}

/// Against the sum in a wider type, with lengths and magnitudes over the whole range.
template <class S>
void check_norms() {
  using L = std::numeric_limits<S>;
  Random random{11};
  const int lowest = std::ilogb(L::denorm_min()), highest = std::ilogb(L::max());
  double worst = 0.0;
  for (int i = 0; i < 20000; ++i) {
    const int n = 1 + static_cast<int>(random.next() % 20);
    const int middle = lowest + static_cast<int>(random.next() % static_cast<std::uint64_t>(highest - lowest));
    std::vector<S> v(static_cast<std::size_t>(n));
    long double square = 0.0L;
    S largest = S(0);
    for (S& x : v) {
      const int exponent = middle + static_cast<int>(random.next() % 40) - 20;
      x = static_cast<S>(std::ldexp(random.uniform(-1.0, 1.0), std::min(exponent, highest - 3)));
      square += static_cast<long double>(x) * static_cast<long double>(x);  // long double: 2^-16445 to 2^16383
      largest = std::max(largest, std::abs(x));
    }
    const auto at = [&](int j) { return v[static_cast<std::size_t>(j)]; };
    const pb::ScaledNorm<S> norm = pb::scaled_norm<S>(n, at);
    int exponent = 0;
    EXPECT_EQ(std::frexp(norm.scale, &exponent), S(0.5));
    if (largest == S(0)) {
      EXPECT_EQ(norm.root, S(0));
      continue;
    }
    // Nothing that counts was lost in the scaling.
    const long double exact = std::sqrt(square) * static_cast<long double>(norm.scale);
    worst = std::max(worst, static_cast<double>(std::abs(static_cast<long double>(norm.root) - exact) / exact));
    if (largest >= L::min()) {
      EXPECT_GE(largest * norm.scale, S(1));
      EXPECT_LT(largest * norm.scale, S(4));
    }
    // A power of two moves the exponents alone.
    if (std::ilogb(largest) > lowest + 60 && std::ilogb(largest) < highest - 20) {
      const pb::ScaledNorm<S> moved = pb::scaled_norm<S>(n, [&](int j) { return at(j) * S(0x1p10); });
      bool exact_move = true;
      for (const S x : v) exact_move = exact_move && (x == S(0) || std::isnormal(x));
      if (exact_move) {
        EXPECT_EQ(moved.norm(), norm.norm() * S(0x1p10));
      }
    }
  }
  // Three levels of the tree, each square and each sum half an ulp; halved by the root, whose rounding comes on top.
  EXPECT_LE(worst, 3.0 * static_cast<double>(L::epsilon()));

  const auto of = [](std::vector<S> v) {
    return pb::scaled_norm<S>(static_cast<int>(v.size()), [&](int j) { return v[static_cast<std::size_t>(j)]; });
  };
  EXPECT_EQ(of({L::max()}).norm(), L::max());
  EXPECT_EQ(of({L::denorm_min(), S(0)}).norm(), L::denorm_min());
  EXPECT_EQ(of({S(3) * L::denorm_min(), S(-4) * L::denorm_min()}).norm(), S(5) * L::denorm_min());
  EXPECT_EQ(of({S(0.6) * L::max(), S(0), S(0.8) * L::max()}).root / of({L::max()}).root, S(1));
  EXPECT_EQ(of({S(0), S(-0.0)}).root, S(0));
  EXPECT_TRUE(std::isinf(of({L::max(), L::max()}).norm()));
  EXPECT_TRUE(std::isinf(of({S(1), -L::infinity()}).norm()));
  EXPECT_TRUE(std::isnan(of({S(1), L::quiet_NaN()}).norm()));
  EXPECT_TRUE(std::isnan(of({L::quiet_NaN(), L::infinity(), S(1)}).norm()));
}

TEST_F(Math, NormsNeitherOverflowNorUnderflow) {
  check_norms<float>();
  check_norms<double>();
}

template <class S>
void check_adaptive_factors() {
  using L = std::numeric_limits<S>;
  const double eps = static_cast<double>(L::epsilon());
  const auto close = [&](S got, long double want, double ulps) {
    EXPECT_NEAR(static_cast<double>(got / static_cast<S>(want)), 1.0, ulps * eps) << want;
  };
  const auto power = adaptive_spec<S>(pb::AdaptiveKind::gradient_norm),
             smooth = adaptive_spec<S>(pb::AdaptiveKind::l0l1);
  for (const double r : {0.0, 1e-30, 1e-3, 0.5, 2.0, 70.0, 1e9}) {
    const S at = static_cast<S>(r);
    const long double R = static_cast<long double>(at), c = static_cast<long double>(power.inverse_c),
                      q = static_cast<long double>(power.minus_q), L0 = static_cast<long double>(smooth.L0),
                      L1 = static_cast<long double>(smooth.L1), share = static_cast<long double>(smooth.share);
    const S a = pb::adaptive_factor(power, at), b = pb::adaptive_factor(smooth, at);
    close(a, std::pow(1.0L + c * R, q), 10.0);
    close(b, share / (L0 + L1 * R), 2.0);
    close(pb::adaptive_factor_slope(power, at, a), q * c * std::pow(1.0L + c * R, q - 1.0L), 13.0);
    close(pb::adaptive_factor_slope(smooth, at, b), -L1 * share / ((L0 + L1 * R) * (L0 + L1 * R)), 5.0);
  }
  // Where 1 + r/c overflows the factor is still a number.
  pb::AdaptiveSpec<S> steep = power;
  steep.inverse_c = S(1e6);
  steep.minus_q = S(-0.25);
  EXPECT_GT(pb::adaptive_factor(steep, L::max()), S(0));
  EXPECT_LT(pb::adaptive_factor(steep, L::max()), S(1e-9));
  EXPECT_TRUE(std::isnan(pb::adaptive_factor(steep, L::quiet_NaN())));

  const auto hessian = adaptive_spec<S>(pb::AdaptiveKind::hessian_norm);
  EXPECT_EQ(pb::adaptive_factor_of_hessian(hessian, S(0)), S(1));
  EXPECT_EQ(pb::adaptive_factor_of_hessian(hessian, S(0.5) * hessian.share), S(1));
  EXPECT_EQ(pb::adaptive_factor_of_hessian(hessian, S(4) * hessian.share), S(0.25));
  EXPECT_TRUE(std::isnan(pb::adaptive_factor_of_hessian(hessian, L::quiet_NaN())));
}

TEST_F(Math, AdaptiveFactorsAndTheirSlopesAreWhatTheTheorySays) {
  check_adaptive_factors<float>();
  check_adaptive_factors<double>();
}

TEST_F(Math, CanonicalNanIsTheOnePositiveQuietNan) {
  for (const std::uint32_t u : {0x7fc00000u, 0xffc00000u, 0x7f800001u, 0xff8abcdeu, 0x7fffffffu})
    EXPECT_EQ(pb::as_bits(pb::canonical_nan(from_pattern<float>(u))), 0x7fc00000u);
  for (const std::uint64_t u : {0x7ff8000000000000u, 0xfff8000000000000u, 0x7ff0000000000001u, 0xffffffffffffffffu})
    EXPECT_EQ(pb::as_bits(pb::canonical_nan(from_pattern<double>(u))), 0x7ff8000000000000u);
  for (const float x : {0.0f, -0.0f, 1.0f, -HUGE_VALF, 1e-45f})
    EXPECT_EQ(pb::as_bits(pb::canonical_nan(x)), pb::as_bits(x));
}

}  // namespace
